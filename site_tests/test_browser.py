"""What a reader does, in a real browser at desktop and phone width."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from site_tests.conftest import ROOT, SITE, Opened

PAGES = sorted(path.parent.relative_to(SITE).as_posix() for path in SITE.rglob("index.html"))
POINTS = json.loads((ROOT / "docs/zoo.json").read_text())
MARKS = ".zoo-frame .point"
NOTE = ".zoo-note"


@pytest.mark.parametrize("path", PAGES)
def test_a_page_opens(opened: Opened, path: str) -> None:
    page = opened.go("" if path == "." else f"{path}/")
    expect(page.locator("h1").first).to_be_visible()
    # Nothing but what scrolls by itself, such as a table, is wider than the screen.
    width, screen = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= screen
    broken = "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
    assert page.evaluate(broken) == []
    opened.picture("index" if path == "." else path.replace("/", "-"))


def first_cells(page: Page, column: int, count: int = 3) -> list[str]:
    rows = page.locator(".data-table tbody tr:visible")
    return [rows.nth(row).locator("td").nth(column).inner_text() for row in range(count)]


def test_the_zoo_table_sorts(opened: Opened) -> None:
    page = opened.go("zoo/")
    headers = page.locator(".data-table th")
    by_parameters = headers.nth(3)
    expect(by_parameters).to_have_text("Parameters")
    by_parameters.locator("button").click()
    expect(by_parameters).to_have_attribute("aria-sort", "descending")
    figures = [int(text.replace(",", "")) for text in first_cells(page, 3, 126)]
    assert figures == sorted(figures, reverse=True)
    by_parameters.locator("button").click()
    expect(by_parameters).to_have_attribute("aria-sort", "ascending")
    assert [int(text.replace(",", "")) for text in first_cells(page, 3, 126)] == figures[::-1]
    # Words sort as words, and what has no figure comes last in either direction.
    headers.nth(0).locator("button").click()
    names = first_cells(page, 0, 126)
    assert names[0] == "BiTR50x1" and names[-1].startswith("ViT")
    headers.nth(6).locator("button").click()
    tops = first_cells(page, 6, 126)
    filled = [float(text) for text in tops if text.strip()]
    assert len(filled) < len(tops) and filled == sorted(filled, reverse=True)
    assert not any(text.strip() for text in tops[len(filled) :])
    opened.picture("zoo-sorted")


def test_the_zoo_table_filters(opened: Opened) -> None:
    page = opened.go("zoo/")
    box = page.locator(".data-filter input")
    box.fill("swin 384")
    rows = page.locator(".data-table tbody tr:visible")
    expect(rows).to_have_count(2)
    assert first_cells(page, 0, 2) == ["SwinBase384", "SwinLarge384"]
    expect(page.locator(".data-table output")).to_have_text("2 of 126 rows")
    page.locator(".data-table th button").first.click()
    expect(rows).to_have_count(2)
    box.scroll_into_view_if_needed()
    opened.picture("zoo-filtered")
    box.fill("")
    expect(rows).to_have_count(126)


def test_the_chart_answers(opened: Opened) -> None:
    page = opened.go("zoo/")
    marks = page.locator(MARKS)
    expect(marks).to_have_count(len(POINTS))
    page.locator('.zoo-controls input[type="search"]').fill("SwinLarge384")
    [point] = [point for point in POINTS if point["model"] == "SwinLarge384"]
    expect(marks).to_have_count(1)
    marks.first.hover(force=True)
    note = page.locator(NOTE)
    expect(note).to_be_visible()
    for part in (point["model"], point["tag"], f"{point['top1']:.1f} % at {point['px']} px"):
        expect(note).to_contain_text(part)
    opened.picture("zoo-hovered")
    page.mouse.move(1, 1)
    expect(note).to_be_hidden()


def test_the_chart_filters(opened: Opened) -> None:
    page = opened.go("zoo/")
    marks = page.locator(MARKS)
    page.get_by_label("ImageNet-1k alone").check()
    alone = [point for point in POINTS if point["images"] == "ImageNet-1k"]
    expect(marks).to_have_count(len(alone))
    page.locator(".zoo-design.ConvNet input").uncheck()
    left = [point for point in alone if point["design"] != "ConvNet"]
    expect(marks).to_have_count(len(left))
    for cost in ("params", "activations"):
        page.locator(".zoo-controls select").select_option(cost)
        expect(marks).to_have_count(len(left))
    opened.picture("zoo-transformers")


def test_the_keyboard_walks_through_the_chart(opened: Opened) -> None:
    page = opened.go("zoo/")
    page.locator(".zoo-frame svg").focus()
    page.keyboard.press("ArrowRight")
    cheapest = min(POINTS, key=lambda point: point["macs"])
    expect(page.locator(NOTE)).to_contain_text(cheapest["model"])
    page.keyboard.press("ArrowLeft")
    expect(page.locator(NOTE)).to_contain_text(cheapest["model"])
    page.keyboard.press("ArrowRight")
    expect(page.locator(NOTE)).to_be_visible()


def test_every_mark_lies_inside_the_chart(opened: Opened) -> None:
    page = opened.go("zoo/")
    outside = page.evaluate(
        """() => {
            const frame = document.querySelector(".zoo-frame svg").getBoundingClientRect();
            return [...document.querySelectorAll(".zoo-frame svg > *")].filter((mark) => {
                const box = mark.getBoundingClientRect();
                return box.left < frame.left || box.right > frame.right
                    || box.top < frame.top || box.bottom > frame.bottom;
            }).length;
        }"""
    )
    assert outside == 0


def test_the_search_box_finds(opened: Opened) -> None:
    page = opened.go("")
    if opened.size == "phone":
        page.locator('label.md-header__button[for="__search"]').click()
    box = page.locator(".md-search__input")
    box.click()
    box.press_sequentially("sliding window")
    result = page.locator(".md-search-result__link").first
    expect(result).to_be_visible()
    opened.picture("search")
    result.click()
    page.wait_for_load_state("networkidle")
    expect(page.locator("article")).to_contain_text("sliding_window")


def test_the_dark_scheme_is_chosen_by_a_click(opened: Opened) -> None:
    page = opened.go("zoo/")
    page.get_by_title("Dark").click()
    expect(page.locator("body")).to_have_attribute("data-md-color-scheme", "slate")
    opened.picture("zoo-dark")
    for path in ("", "api/inference/", "compare/"):
        opened.go(path)
        expect(page.locator("body")).to_have_attribute("data-md-color-scheme", "slate")
        opened.picture(f"{Path(path).name or 'index'}-dark")


def test_a_phone_opens_the_menu(opened: Opened) -> None:
    page = opened.go("training/")
    if opened.size == "phone":
        page.locator('label.md-header__button[for="__drawer"]').click()
        expect(page.locator(".md-nav--primary")).to_be_in_viewport(ratio=0.99)
    else:
        expect(page.locator(".md-tabs")).to_be_visible()
    opened.picture("menu")
