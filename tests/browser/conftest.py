"""Pages in headless Chromium: where there is one, and nothing that it complains of or asks a network for."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vae_cli.cli.app import app

ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync")  # fmt: skip
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """open_page(path, width=1440, scheme="light"): a file's page; fails at the end if anything went wrong in it."""
    contexts, problems = [], list[str]()

    def note_request(request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            problems.append(f"asked for {request.url}")

    def opened(path: Path, width: int = 1440, scheme: str = "light", **settings: Any) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, **settings)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", note_request)
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not problems


@pytest.fixture
def vae() -> Callable[..., Any]:
    """Runs the program in this process; fails unless it leaves with 0."""

    def run(*words: object) -> Any:
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 0, result.stderr
        return result

    return run


def overflow(page: Any) -> int:
    """By how many pixels a page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


def until(page: Any, expression: str) -> Any:
    """The page, once the expression is true there. (Playwright's own waiting needs the `eval` that pages forbid.)"""
    for _ in range(1000):
        if page.evaluate(expression):
            return page
        page.wait_for_timeout(20)
    raise AssertionError(f"never: {expression}")
