"""The content of a report as Markdown and as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

STYLE = """
:root { color-scheme: light dark;
  --ink: #1a2230; --page: #ffffff; --rule: #d5dae2; --soft: #f3f5f8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e8ef; --page: #14181f; --rule: #384150; --soft: #1d232d; }
}
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 4rem; background: var(--page);
  color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; }
h2 { font-size: 1.15rem; margin-top: 2.5rem; }
.answer { background: var(--soft); border-left: .25rem solid #0072B2; padding: .75rem 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .75rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--rule); }
th { vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.words td { text-align: left; white-space: normal; vertical-align: top; }
th:nth-child(2) { white-space: nowrap; }
figure { display: inline-block; vertical-align: top; width: min(100%, 29rem);
  margin: 1.5rem .5rem 0 0; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { font-weight: 600; }
"""


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; without one, names and what they mean."""

    rows: Sequence[Sequence[str]]
    header: Sequence[str] = ()


@dataclass(frozen=True)
class Figure:
    """A plot: its file beside the report, its caption, and itself as an `<svg>` element."""

    file: str
    caption: str
    svg: str


Block = str | Table | Figure


@dataclass(frozen=True)
class Document:
    """A title, the answer, and sections of paragraphs, tables and figures."""

    title: str
    answer: Sequence[str]  # sentences, the first alone says it
    sections: Mapping[str, Sequence[Block]]


def markdown(document: Document) -> str:
    first, *rest = document.answer
    parts = [f"# {document.title}", " ".join([f"**{first}**", *rest])]
    for heading, blocks in document.sections.items():
        parts += [f"## {heading}", *map(_markdown_block, blocks)]
    return "\n\n".join(parts) + "\n"


def page(document: Document) -> str:
    body = [f"<h1>{escape(document.title)}</h1>"]
    first, *rest = map(escape, document.answer)
    body.append(f'<p class="answer">{" ".join([f"<strong>{first}</strong>", *rest])}</p>')
    for heading, blocks in document.sections.items():
        body += [f"<h2>{escape(heading)}</h2>", *map(_html_block, blocks)]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(document.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _markdown_block(block: Block) -> str:
    if isinstance(block, str):
        return block
    if isinstance(block, Figure):
        return f"![{block.caption}]({block.file}.png)"
    if not block.header:
        return "\n".join(f"- {row[0]}: {row[1]}" for row in block.rows)
    rule = ["---", *["---:"] * (len(block.header) - 1)]
    rows = [block.header, rule, *block.rows]
    return "\n".join("| " + " | ".join(c.replace("|", r"\|") for c in row) + " |" for row in rows)


def _html_block(block: Block) -> str:
    if isinstance(block, str):
        return f"<p>{escape(block)}</p>"
    if isinstance(block, Figure):
        return f"<figure><figcaption>{escape(block.caption)}</figcaption>{block.svg}</figure>"
    head = "".join(f"<th>{escape(cell)}</th>" for cell in block.header)
    rows = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in block.rows
    )
    kind = "" if head else ' class="words"'
    head = f"<thead><tr>{head}</tr></thead>\n" if head else ""
    return f'<div class="scroll"><table{kind}>{head}<tbody>{rows}</tbody></table></div>'
