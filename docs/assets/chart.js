// The chart of the zoo: accuracy over cost, a point per published checkpoint, drawn as SVG from the
// JSON file that <div class="zoo-chart"> links to. Hover, tap, or use the arrow keys.
"use strict";

{
  const COSTS = { macs: ["Multiply-adds (G)", 1e9], params: ["Parameters (M)", 1e6],
    activations: ["Activations (M)", 1e6] };
  const MARKS = {  // of radius r; colours in style.css, the shapes tell them apart without
    ConvNet: (x, y, r) => ["circle", { cx: x, cy: y, r }],
    Transformer: (x, y, r) => ["rect", { x: x - 0.9 * r, y: y - 0.9 * r, width: 1.8 * r, height: 1.8 * r }],
    between: (x, y, r) => ["path", { d: `M${x} ${y - 1.2 * r}l${1.2 * r} ${2.2 * r}h${-2.4 * r}z` }],
  };
  const MARGIN = { left: 46, right: 12, top: 12, bottom: 42 };

  const svgElement = (name, attributes, text = "") => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.textContent = text;
    return element;
  };
  const htmlElement = (name, className, text = "") =>
    Object.assign(document.createElement(name), { className, textContent: text });
  const short = (value) => Number(value.toPrecision(3)).toString();

  // 1, 2, 5, 10, ... between two values; only the powers of ten where there is little room.
  function logTicks(low, high, dense) {
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
      for (const step of dense ? [1, 2, 5] : [1]) ticks.push(step * 10 ** power);
    return ticks.filter((tick) => tick >= low && tick <= high);
  }

  // Those that nothing cheaper, or of the same cost, beats; by rising cost.
  function best(points, costOf) {
    let top = -Infinity;
    return [...points].sort((a, b) => costOf(a) - costOf(b) || b.top1 - a.top1)
      .filter((point) => point.top1 > top && ((top = point.top1), true));
  }

  function makeChart(division, all) {
    const bar = htmlElement("div", "zoo-controls");
    const select = htmlElement("select", "");
    for (const [key, [label]] of Object.entries(COSTS)) select.append(new Option(label, key));
    const costLabel = htmlElement("label", "", "Over ");
    costLabel.append(select);
    const alone = Object.assign(htmlElement("input", ""), { type: "checkbox" });
    const aloneLabel = htmlElement("label", "");
    aloneLabel.append(alone, " trained on ImageNet-1k alone");
    const search = Object.assign(htmlElement("input", ""), { type: "search", placeholder: "convnext" });
    const searchLabel = htmlElement("label", "", "Models ");
    searchLabel.append(search);
    const boxes = Object.keys(MARKS).map((design) => {
      const label = htmlElement("label", `zoo-design ${design}`);
      const box = Object.assign(htmlElement("input", ""), { type: "checkbox", checked: true, value: design });
      const icon = svgElement("svg", { viewBox: "0 0 14 14", width: 14, height: 14, "aria-hidden": true });
      icon.append(svgElement(...MARKS[design](7, 7, 4.5)));
      label.append(box, icon, design);
      bar.append(label);
      return box;
    });
    bar.append(costLabel, searchLabel, aloneLabel);
    const frame = htmlElement("div", "zoo-frame");
    const picture = svgElement("svg", { tabindex: 0, role: "img" });
    const note = htmlElement("div", "zoo-note");
    note.setAttribute("role", "status");
    note.hidden = true;
    frame.append(picture, note);
    const legend = htmlElement("p", "zoo-legend",
      "Filled: ImageNet-1k alone; hollow: more images. The line joins those that nothing cheaper beats.");
    division.prepend(bar, frame, legend);  // the link to the data stays, below

    let shown = [];  // {point, x, y, mark}, by rising cost
    let current = null;
    let drawnWidth = 0;

    function draw() {
      const [label, unit] = COSTS[select.value];
      const costOf = (point) => point[select.value] / unit;
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const designs = boxes.filter((box) => box.checked).map((box) => box.value);
      const points = all.filter((point) => designs.includes(point.design)
        && (!alone.checked || point.images === "ImageNet-1k")
        && words.every((word) => `${point.model} ${point.tag}`.toLowerCase().includes(word)));
      const width = drawnWidth = frame.clientWidth, height = Math.max(300, Math.min(480, width * 0.62));
      const wide = width > 560;
      // The axes stay where they are, so that a choice of models is seen in its place.
      const costs = all.map(costOf), tops = all.map((point) => point.top1);
      const low = Math.min(...costs) / 1.15, high = Math.max(...costs) * 1.15;
      const floor = Math.floor(Math.min(...tops) - 0.5), ceiling = Math.ceil(Math.max(...tops) + 0.5);
      const across = width - MARGIN.left - MARGIN.right, up = height - MARGIN.top - MARGIN.bottom;
      const x = (cost) => MARGIN.left + across * Math.log(cost / low) / Math.log(high / low);
      const y = (top1) => MARGIN.top + up * (ceiling - top1) / (ceiling - floor);

      picture.replaceChildren();
      picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
      picture.setAttribute("aria-label",
        `${points.length} checkpoints: top-1 over ${label}. The arrow keys walk through them.`);
      for (const tick of logTicks(low, high, wide)) {
        picture.append(
          svgElement("line", { class: "grid", x1: x(tick), x2: x(tick), y1: MARGIN.top, y2: height - MARGIN.bottom }),
          svgElement("text", { x: x(tick), y: height - MARGIN.bottom + 16, "text-anchor": "middle" }, short(tick)));
      }
      for (let tick = Math.ceil(floor / 5) * 5; tick <= ceiling; tick += 5)
        picture.append(
          svgElement("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(tick), y2: y(tick) }),
          svgElement("text", { x: MARGIN.left - 6, y: y(tick) + 4, "text-anchor": "end" }, `${tick}`));
      picture.append(
        svgElement("text", { class: "axis", x: MARGIN.left + across / 2, y: height - 6, "text-anchor": "middle" }, label),
        svgElement("text", { class: "axis", transform: `translate(12 ${MARGIN.top + up / 2}) rotate(-90)`,
          "text-anchor": "middle" }, "Top-1 (%)"),
        svgElement("polyline", { class: "best",
          points: best(points, costOf).map((point) => `${x(costOf(point))},${y(point.top1)}`).join(" ") }));
      shown = points.sort((a, b) => costOf(a) - costOf(b)).map((point) => {
        const at = [x(costOf(point)), y(point.top1)];
        const [name, attributes] = MARKS[point.design](...at, wide ? 4.5 : 3.2);
        const fill = point.images === "ImageNet-1k" ? "filled" : "hollow";
        const mark = svgElement(name, { ...attributes, class: `point ${point.design} ${fill}` });
        picture.append(mark);
        return { point, x: at[0], y: at[1], mark };
      });
      tell(null);
    }

    function tell(found) {
      current?.mark.classList.remove("current");
      current = found;
      note.hidden = !found;
      if (!found) return;
      const { point, mark } = found;
      mark.classList.add("current");
      picture.append(mark);  // on top of the others
      note.replaceChildren(htmlElement("strong", "", point.model), htmlElement("code", "", point.tag),
        htmlElement("span", "", `${point.top1.toFixed(1)} % at ${point.px} px`),
        htmlElement("span", "", `${short(point.macs / 1e9)} GMACs, ${short(point.params / 1e6)} M parameters, `
          + `${short(point.activations / 1e6)} M activations`));
      const left = Math.min(found.x + 12, frame.clientWidth - note.offsetWidth);
      const above = found.y - note.offsetHeight - 12;
      note.style.left = `${Math.max(0, left)}px`;
      note.style.top = `${above > 0 ? above : found.y + 14}px`;
    }

    frame.addEventListener("pointermove", (event) => {
      const box = picture.getBoundingClientRect();
      const distance = (s) => Math.hypot(s.x - (event.clientX - box.left), s.y - (event.clientY - box.top));
      const nearest = shown.reduce((a, b) => (a && distance(a) <= distance(b) ? a : b), null);
      tell(nearest && distance(nearest) < 24 ? nearest : null);
    });
    frame.addEventListener("pointerleave", () => tell(null));
    picture.addEventListener("blur", () => tell(null));
    picture.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step || !shown.length) return;
      event.preventDefault();
      const index = current ? shown.indexOf(current) + step : step > 0 ? 0 : shown.length - 1;
      tell(shown[Math.max(0, Math.min(shown.length - 1, index))]);
    });
    for (const control of [select, search, alone, ...boxes]) control.addEventListener("input", draw);
    new ResizeObserver(() => frame.clientWidth === drawnWidth || requestAnimationFrame(draw)).observe(frame);
  }

  for (const division of document.querySelectorAll(".zoo-chart"))
    fetch(division.querySelector("a").href)
      .then((answer) => answer.json())
      .then((points) => makeChart(division, points));
}
