"""The built site behind a local server, and a headless Chromium at two widths."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "site"
SCREENSHOTS = ROOT / "build" / "screenshots"
SIZES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
}
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# No sandbox, because containers have none; and nothing that looks for a network by itself.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Opened:
    """A tab that keeps what went wrong in it."""

    def __init__(self, page: Page, url: str, size: str) -> None:
        self.page, self.url, self.size = page, url, size
        self.wrong: list[str] = []
        page.on("console", lambda m: m.type in ("error", "warning") and self.wrong.append(m.text))
        page.on("pageerror", lambda error: self.wrong.append(f"uncaught: {error}"))
        page.on("requestfailed", lambda r: self.wrong.append(f"failed: {r.url} {r.failure}"))
        page.on("response", lambda r: r.status >= 400 and self.wrong.append(f"{r.status}: {r.url}"))
        page.on("request", lambda r: self._check_address(r.url))

    def _check_address(self, address: str) -> None:
        if not address.startswith((self.url, "data:", "blob:")):
            self.wrong.append(f"leaves this machine: {address}")

    def go(self, path: str) -> Page:
        self.page.goto(self.url + path, wait_until="networkidle")
        return self.page

    def picture(self, name: str) -> None:
        folder = SCREENSHOTS / self.size
        folder.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=folder / f"{name}.png")


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    assert found, "No Chromium was found; on Debian: apt install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=[*FLAGS])
        yield browser
        browser.close()


@pytest.fixture(params=list(SIZES))
def opened(request: pytest.FixtureRequest, browser: Browser, url: str) -> Iterator[Opened]:
    """A fresh tab at each of the two widths; the test fails if anything went wrong in it."""
    context = browser.new_context(color_scheme="light", **SIZES[request.param])
    tab = Opened(context.new_page(), url, request.param)
    yield tab
    context.close()
    assert not tab.wrong
