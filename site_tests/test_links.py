"""Every link inside the site leads somewhere, and the reference has every public name."""

from __future__ import annotations

import ast
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from site_tests.conftest import ROOT, SITE

PAGES = sorted(SITE.rglob("*.html"))
PACKAGES = sorted(
    path.stem
    for path in (ROOT / "docs/api").glob("*.md")
    if (ROOT / "keras_vitcnn" / path.stem).is_dir()
)


class Document(HTMLParser):
    """The addresses that a page refers to, and the anchors that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("href", "src", "data-src") and value is not None:
                self.addresses.append(value)
            if name in ("id", "name") and value:
                self.anchors.add(value)


@cache
def document(path: Path) -> Document:
    return Document(path.read_text())


def target(page: Path, address: str) -> Path:
    """The file that a relative address on a page means."""
    path = unquote(address)
    found = SITE / path.lstrip("/") if path.startswith("/") else page.parent / path
    return found / "index.html" if found.is_dir() else found


def test_the_site_was_built() -> None:
    assert len(PAGES) > 25, "run: make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(SITE)))
def test_no_link_is_dead(page: Path) -> None:
    dead = []
    for address in document(page).addresses:
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            continue
        file = target(page, parts.path) if parts.path else page
        if not file.resolve().is_file():
            dead.append(address)
        elif parts.fragment and file.suffix == ".html":
            anchor = unquote(parts.fragment)
            if anchor != "__skip" and anchor not in document(file.resolve()).anchors:
                dead.append(address)
    assert not dead


@pytest.mark.parametrize("package", PACKAGES)
def test_the_reference_has_every_public_name(package: str) -> None:
    source = ROOT / "keras_vitcnn" / package / "__init__.py"
    names = next(
        ast.literal_eval(node.value)
        for node in ast.parse(source.read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    anchors = document(SITE / "api" / package / "index.html").anchors
    described = {anchor.rsplit(".", 1)[-1] for anchor in anchors}
    assert not set(names) - described
