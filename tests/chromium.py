"""The system's Chromium without a window, driven by Playwright, whose own browsers are never installed.

What is done in a page is said by the tests: those of the pages of examples/ get `browser`, and the interop tests start
one for a page of their own. Where Chromium is missing they are skipped.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from patience import PATIENCE
from playwright.sync_api import Browser, Page, expect, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Generator

PROGRAM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
OUTPUT = Path(__file__).with_name("output")
"""Where pictures of the pages are left to be looked at."""
DESKTOP = (1280, 800)
PHONE = (390, 844)
"""Sizes of windows."""


def need_chromium() -> None:
    """Skip the test if there is none."""
    if PROGRAM is None:
        pytest.skip("needs Chromium")


@contextmanager
def running_chromium() -> Generator[Browser]:
    """Run Chromium in the block. Playwright's synchronous API does not go with trio: use a thread of its own there."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(name="browser", scope="module")
def chromium() -> Generator[Browser]:
    """Run Chromium for the tests of a file."""
    need_chromium()
    with running_chromium() as browser:
        yield browser


def open_window(
    browser: Browser, size: tuple[int, int] = DESKTOP, scheme: Literal["light", "dark"] = "light"
) -> tuple[Page, list[str]]:
    """Return the page of a person's own window, and what has gone wrong in it so far.

    All that is done or expected there may take as long as anything.
    """
    width, height = size
    phone = size == PHONE
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        device_scale_factor=2 if phone else 1,
        has_touch=phone,
        is_mobile=phone,
        locale="en-GB",
        reduced_motion="reduce",
    )
    context.set_default_timeout(PATIENCE * 1000)
    expect.set_options(timeout=PATIENCE * 1000)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    return page, faults
