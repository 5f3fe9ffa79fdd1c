"""A headless Chromium for tests: the one on this machine; without one the tests are skipped and say why."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

OPTIONS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def missing() -> str:
    """Why there is no browser to test with; "" where there is one."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "no playwright here: pip install -c .ci/constraints.txt -r .ci/requirements-browser.txt"
    return "" if executable() else f"no browser on PATH ({', '.join(NAMES)}), nor CHROMIUM=/its/path"


def executable() -> str | None:
    """The browser to use: $CHROMIUM, or the first of NAMES on the PATH."""
    named = os.environ.get("CHROMIUM")
    return named if named and Path(named).exists() else next(filter(None, map(shutil.which, NAMES)), None)


def needs_browser(test):
    """Mark a test that drives a browser: slow, and skipped where there is none."""
    reason = missing()
    return pytest.mark.slow(pytest.mark.skipif(bool(reason), reason=reason or "there is a browser")(test))


@contextmanager
def page(folder: Path, width: int = 1280, height: int = 720):
    """A page of a fresh browser with its profile in `folder`; page.errors collects its console's errors."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            str(folder),
            executable_path=executable(),
            args=OPTIONS,
            viewport={"width": width, "height": height},
        )
        try:
            opened = browser.new_page()
            opened.errors = []
            opened.on("console", lambda m: opened.errors.append(m.text) if m.type == "error" else None)
            opened.on("pageerror", lambda error: opened.errors.append(str(error)))
            yield opened
        finally:
            browser.close()
