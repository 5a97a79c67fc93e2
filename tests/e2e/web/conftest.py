"""The page in a headless Chromium that is installed already; nothing is downloaded."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Response, sync_playwright

from heliograph.cli.background_process import BackgroundProcess

_FLAGS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
)
_FAILED_LOAD = "Failed to load resource: the server responded with a status of "

ServeWeb = Callable[[str, Path], AbstractContextManager[str]]


@dataclass
class Visit:
    """A page that was opened, and what went on in its browser."""

    page: Page
    url: str
    requested: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Errors and warnings of the console, but for answers that are themselves errors."""
    failures: list[int] = field(default_factory=list)
    """HTTP statuses from 400 on."""

    def note(self, message: ConsoleMessage) -> None:
        """Remember what the console shows."""
        if message.type in ("error", "warning") and not message.text.startswith(_FAILED_LOAD):
            self.problems.append(message.text)

    def answered(self, response: Response) -> None:
        """Remember an answer that is an error."""
        if response.status >= 400:
            self.failures.append(response.status)

    def best(self) -> str:
        """Wait for an answer; return the name of its best class."""
        self.page.wait_for_selector("#answer:not([aria-busy]):visible")
        return self.page.inner_text("#best-name")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a headless Chromium, or skip where there is none.

    Playwright keeps an event loop running in this thread while it is open, and other modules have
    tests with event loops of their own.
    """
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        pytest.skip("no Chromium is installed (on Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=_FLAGS)
        try:
            yield chromium
        finally:
            chromium.close()


@pytest.fixture(scope="session")
def serve_web() -> ServeWeb:
    """Return a context manager `serve_web(target, log)`: the URL of a web server for a gateway."""
    return _serve_web


@contextmanager
def _serve_web(target: str, log: Path) -> Iterator[str]:
    process = BackgroundProcess(
        "web page", ["web", "--target", target, "--listen", "127.0.0.1:0"], log
    )
    try:
        yield process.wait_for(_listening, 60.0)
    finally:
        process.stop()


def _listening(line: str) -> str | None:
    match = re.fullmatch(r"Listening on (\S+)\n", line)
    return match[1] if match else None


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[[str], Visit]]:
    """Open pages. Their consoles must stay silent, and they must call their own server alone."""
    visits: list[Visit] = []
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    context.set_default_timeout(20_000)

    def open_page(url: str) -> Visit:
        page = context.new_page()
        opened = Visit(page, url)
        visits.append(opened)
        page.on("console", opened.note)
        page.on("pageerror", lambda error: opened.problems.append(str(error)))
        page.on("request", lambda request: opened.requested.append(request.url))
        page.on("response", opened.answered)
        page.goto(url)
        # The page knows its models, or why it does not.
        page.wait_for_selector("#main:not([aria-busy])")
        return opened

    yield open_page
    context.close()
    for opened in visits:
        assert opened.problems == []
        own = (opened.url, f"blob:{opened.url}")
        assert [url for url in opened.requested if not url.startswith(own)] == []
