"""The pages of the examples in a headless Chromium: what a person does there, and what they then see.

Each page is served by its example, run as a process. Pictures are left in tests/output/ to be looked at.
"""

from __future__ import annotations

import json
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from chromium import DESKTOP, OUTPUT, PHONE, chromium, open_window
from playwright.sync_api import Browser, Page, expect
from running_examples import running_example

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["chromium"]  # the fixture `browser`

TOKEN = "a token that only programs know"


@contextmanager
def window(
    browser: Browser, url: str, size: tuple[int, int] = DESKTOP, scheme: Literal["light", "dark"] = "light"
) -> Generator[Page]:
    """Open a page for the block, in which nothing may go wrong."""
    page, faults = open_window(browser, size, scheme)
    page.goto(url)
    yield page
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it fits, however narrow"
    page.context.close()
    assert not faults


def picture(page: Page, name: str) -> None:
    OUTPUT.mkdir(exist_ok=True)
    page.screenshot(path=OUTPUT / f"{name}.png", full_page=True)


MORE_DROPPED = "lost => document.getElementById('dropped').textContent.replaceAll(',', '') > lost"


def test_one_sees_a_reader_of_the_ticker_become_slow_and_keep_up_again(browser: Browser) -> None:
    with (
        running_example("ticker") as port,
        window(browser, f"http://127.0.0.1:{port}/", PHONE, "dark") as slow,
    ):
        # Before the other comes: readers are numbered as they connect, which a page does some time after it is there.
        expect(slow.get_by_role("status")).to_have_text("Reader 1 keeps up")
        with window(browser, f"http://127.0.0.1:{port}/") as fast:
            expect(fast.get_by_role("status")).to_have_text("Reader 2 keeps up")
            button = slow.locator("#slow")
            expect(button).to_have_text("Make this reader slow")
            button.click()
            expect(button).to_have_attribute("aria-pressed", "true")
            expect(slow.get_by_role("status")).to_contain_text("older values are dropped")
            expect(slow.locator("#drains")).not_to_have_text("0")
            expect(slow.locator("#dropped")).not_to_have_text("0")
            rows = fast.locator("tbody tr")
            expect(rows.first.locator("td").nth(1)).not_to_have_text("0")
            expect(fast.get_by_role("status")).to_have_text("Reader 2 keeps up")
            # On a machine with other work it has been slow too, for a moment.
            lost = int(fast.locator("#dropped").inner_text().replace(",", ""))
            slow.wait_for_function(MORE_DROPPED, arg=lost)
            picture(slow, "ticker-phone-slow")
            picture(fast, "ticker-desktop")
            button.click()
            expect(slow.get_by_role("status")).to_have_text("Reader 1 keeps up")


def test_a_notification_appears_on_the_page_of_whom_it_concerns(browser: Browser) -> None:
    def publish(title: str, to: str) -> None:
        body = json.dumps({"title": title, "text": "Fine <b>words</b>", "to": to}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/publish", body, {"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request) as response:
            assert response.status == 202

    with (
        running_example("notifications", TOKEN=TOKEN) as port,
        window(browser, f"http://127.0.0.1:{port}/", PHONE, "dark") as page,
    ):
        page.get_by_label("Your name").fill("ada")
        page.get_by_role("button").click()
        expect(page.get_by_role("status")).to_have_text("Live for ada")
        publish("for all", "")
        publish("for grace", "grace")
        publish("a second one", "ada")
        items = page.get_by_role("log").get_by_role("heading")
        expect(items).to_have_text(["a second onefor you", "for all"])
        expect(page.locator("li b")).to_have_count(0)
        picture(page, "notifications-phone-dark")


def test_two_windows_in_a_room_see_each_other_and_each_others_pointers(browser: Browser) -> None:
    with (
        running_example("presence") as port,
        window(browser, f"http://127.0.0.1:{port}/#garden", DESKTOP) as ada,
    ):
        with window(browser, f"http://127.0.0.1:{port}/#garden", PHONE, "dark") as grace:
            for page, name in (ada, "Ada"), (grace, "Grace"):
                page.get_by_label("Your name").fill(name)
                page.get_by_role("button").click()
            people = ada.get_by_role("list").get_by_role("listitem")
            expect(people).to_contain_text(["Ada (you)", "Grace"])
            expect(ada.get_by_role("status")).to_have_text("2 people here")
            field = grace.locator("#field")
            field.hover(position={"x": 100, "y": 200})
            expect(ada.locator(".pointer")).to_have_text("Grace")
            expect(ada.locator(".pointer")).to_be_visible()
            picture(ada, "presence-desktop-light")
            picture(grace, "presence-phone-dark")
        expect(people).to_have_count(1)
        expect(ada.locator(".pointer")).to_have_count(0)


# The same as choosing a file, and then pausing before a byte is sent.
CHOOSE_AND_PAUSE = """() => {
  const chosen = new DataTransfer()
  chosen.items.add(new File([new Uint8Array(1500000)], 'zeros.bin'))
  document.getElementById('file').files = chosen.files
  document.getElementById('file').dispatchEvent(new Event('change'))
  document.querySelector('li button').click()
}"""


def test_a_file_is_uploaded_paused_by_the_server_and_by_the_reader(browser: Browser, tmp_path: Path) -> None:
    with (
        running_example("upload", str(tmp_path)) as port,
        window(browser, f"http://127.0.0.1:{port}/", PHONE) as page,
    ):
        page.get_by_label("Pretend that the server's disk is slow").check()
        with page.expect_websocket() as opened:
            page.evaluate(CHOOSE_AND_PAUSE)
        with opened.value.expect_event("framereceived", lambda data: '"paused": true' in str(data)):
            page.get_by_role("button", name="Resume").click()
        picture(page, "upload-phone-light")
        expect(page.get_by_role("status")).to_contain_text("stored as")
        expect(page.get_by_text("SHA-256")).to_be_visible()
        picture(page, "upload-phone-light-done")
    (stored,) = tmp_path.iterdir()
    assert stored.read_bytes() == bytes(1_500_000)
