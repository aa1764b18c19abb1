// Tables that sort by a click on a heading and filter by the words in a box above them: every table
// in a <div class="data-table">. Without this script they are plain tables.
"use strict";

const number = (text) => (text.trim() === "" ? NaN : Number(text.replace(/[,\s]/g, "")));

function sortBy(table, column, header) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const text = (row) => row.cells[column].textContent.trim();
  const filled = rows.filter((row) => text(row) !== "");
  const numeric = filled.every((row) => !Number.isNaN(number(text(row))));
  const before = header.getAttribute("aria-sort");
  // Figures start with the largest, words with the first of the alphabet; empty cells come last.
  const direction = before === "none" ? (numeric ? "descending" : "ascending")
    : before === "ascending" ? "descending" : "ascending";
  const sign = direction === "ascending" ? 1 : -1;
  const compare = numeric
    ? (a, b) => number(text(a)) - number(text(b))
    : (a, b) => text(a).localeCompare(text(b), "en", { numeric: true });
  const empty = rows.filter((row) => text(row) === "");
  body.append(...filled.sort((a, b) => sign * compare(a, b)), ...empty);
  for (const other of header.parentElement.cells) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", direction);
}

function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = header.textContent;
    header.replaceChildren(button);
    header.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => sortBy(table, column, header));
  });
}

function makeFilterable(division, table) {
  const bar = document.createElement("div");
  const label = document.createElement("label");
  const input = document.createElement("input");
  const count = document.createElement("output");
  bar.className = "data-filter";
  label.append("Filter ", input);
  input.type = "search";
  input.placeholder = "words, such as: convnext 384";
  count.setAttribute("aria-live", "polite");
  const rows = [...table.tBodies[0].rows];
  const show = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    const left = rows.filter((row) => !row.hidden).length;
    count.textContent = left === rows.length ? `${left} rows` : `${left} of ${rows.length} rows`;
  };
  input.addEventListener("input", show);
  bar.append(label, count);
  division.prepend(bar);
  show();
}

for (const division of document.querySelectorAll(".data-table")) {
  const table = division.querySelector("table");
  makeSortable(table);
  if (table.tBodies[0].rows.length > 20) makeFilterable(division, table);
}
