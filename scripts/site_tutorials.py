"""A hook of MkDocs: the notebooks of tutorials/, beside docs/, become a part of the site.

Their formulas become MathML, which browsers draw by themselves, and their links to files of docs/
and to each other, which work where the notebook is read as a file, links to the site's pages.
"""

import re
from html import escape, unescape
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
BEFORE = "Results"  # the section of the navigation that they stand in front of
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(?! )([^$\n]+?)(?<! )\$", re.S)
PAGE = re.compile(r"\.\./docs/([\w/-]+)\.md(#.*)?")
NOTEBOOK = re.compile(r"(\d\d_\w+)\.ipynb(#.*)?")


def notebooks() -> list[str]:
    return sorted(f"tutorials/{path.name}" for path in (ROOT / "tutorials").glob("*.ipynb"))


def on_config(config: Any) -> Any:
    found = notebooks()
    if found:
        sections = [next(iter(entry)) for entry in config.nav]
        config.nav.insert(sections.index(BEFORE), {"Tutorials": found})
    return config


@event_priority(100)  # before mkdocs-jupyter looks for notebooks
def on_files(files: Files, config: Any) -> Files:
    for name in notebooks():
        files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_content(html: str, page: Page, **_: Any) -> str:
    if page.file.src_uri not in notebooks():
        return html
    from bs4 import BeautifulSoup

    content = BeautifulSoup(html, "html.parser")
    for prose in content.select(".jp-RenderedMarkdown"):
        for text in prose.find_all(string=FORMULA):
            if not text.find_parent(["code", "pre"]):
                drawn = FORMULA.sub(mathml, escape(text, quote=False))
                text.replace_with(BeautifulSoup(drawn, "html.parser"))
        for link in prose.find_all("a", href=PAGE):
            link["href"] = PAGE.sub(r"../../\1/\2", link["href"])
        for link in prose.find_all("a", href=NOTEBOOK):
            link["href"] = NOTEBOOK.sub(r"../\1/\2", link["href"])
    return str(content)


def mathml(formula: re.Match[str]) -> str:
    from latex2mathml.converter import convert

    block, inline = formula.groups()
    return convert(unescape(block or inline), display="block" if block else "inline")
