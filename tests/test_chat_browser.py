"""The chat's page in two headless Chromium windows: talk, part, lose the server and find it again.

Playwright drives the system's Chromium through its synchronous API, so these tests are plain functions and no trio runs
beside them. Pictures of the page are left in tests/output/ to be looked at.
"""

from __future__ import annotations

import json
import os
import re
import signal
from time import monotonic
from typing import TYPE_CHECKING, Literal

import pytest
from chromium import DESKTOP, OUTPUT, PHONE, chromium, open_window
from interop.chat import ChatServer, running_server, running_workers
from patience import PATIENCE
from playwright.sync_api import Browser, expect
from redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator

RELOADS = 50
"""Until two windows are in different ones of two workers: half of the connections go to each."""
__all__ = ["chromium"]  # the fixture `browser`


@pytest.fixture(name="server")
def chat_server() -> Iterator[ChatServer]:
    with running_server() as server:
        yield server


class Window:
    """Somebody's browser window, with what a person can see and do there."""

    def __init__(
        self, browser: Browser, size: tuple[int, int] = DESKTOP, scheme: Literal["light", "dark"] = "light"
    ) -> None:
        self.page, self.faults = open_window(browser, size, scheme)
        self.worker = -1  # the process of the server in which this member is
        self.page.on("websocket", lambda socket: socket.on("framereceived", self._heard))
        self.message = self.page.get_by_label("Message to the room")
        self.count = self.page.locator("#count")
        self.log = self.page.get_by_role("log")
        self.offline = self.page.locator("#offline")
        self.send = self.page.get_by_role("button", name="Send", exact=True)

    def _heard(self, frame: str | bytes) -> None:
        event = json.loads(frame)
        if event["type"] == "welcome":
            self.worker = event["id"] >> 32

    def enter(self, server: ChatServer, name: str, room: str = "lobby") -> None:
        self.page.goto(server.url)
        self.page.get_by_label("Your name").fill(name)
        self.page.get_by_label("Room", exact=True).fill(room)
        self.page.get_by_role("button", name="Join the room").click()
        expect(self.page.get_by_role("heading", level=1)).to_have_text(room)
        expect(self.page.locator("#link-state")).to_have_text("Online")

    def say(self, text: str) -> None:
        """Write a message and see it go out."""
        self.message.fill(text)
        self.message.press("Enter")
        expect(self.log.locator(".own .words").last).to_have_text(text)
        expect(self.log.locator(".pending")).to_have_count(0)

    def sees(self, name: str, text: str) -> None:
        """See somebody's message as the last one."""
        last = self.log.locator(".message").last
        expect(last.locator(".words")).to_have_text(text)
        expect(last.locator(".by bdi")).to_have_text(name)

    def notices(self, words: str) -> None:
        expect(self.log.locator(".notice").last).to_have_text(words)

    def picture(self, name: str) -> None:
        OUTPUT.mkdir(exist_ok=True)
        self.page.screenshot(path=OUTPUT / f"{name}.png")

    def close(self) -> None:
        """Close the window; until then nothing may have gone wrong in it."""
        self.page.context.close()
        assert not self.faults


def test_two_pages_in_one_room_see_each_other_and_survive_a_killed_server(browser: Browser, server: ChatServer) -> None:
    ada, grace = Window(browser), Window(browser, PHONE, "dark")
    ada.enter(server, "Ada Lovelace")
    expect(ada.count).to_have_text("Only you are here")
    grace.enter(server, "Grace Hopper")
    ada.notices("Grace Hopper joined")
    for window in ada, grace:
        expect(window.count).to_have_text("2 people here")
    ada.say("Good morning! Has anybody seen the new build?")
    grace.sees("Ada Lovelace", "Good morning! Has anybody seen the new build?")
    grace.say("Looking at it right now: https://example.org/builds/42. All the nanoseconds are there.")
    ada.sees("Grace Hopper", "Looking at it right now: https://example.org/builds/42. All the nanoseconds are there.")
    expect(ada.log.get_by_role("link")).to_have_attribute("href", "https://example.org/builds/42")
    grace.say("One question, though:\n\n    for wire in box:\n        print(wire.length)\n\nIs it <b>always</b> 30 cm?")
    expect(ada.log.locator("b")).to_have_count(0)
    ada.say("Yes.")
    ada.say("A nanosecond is a nanosecond.")
    grace.sees("Ada Lovelace", "A nanosecond is a nanosecond.")
    ada.picture("desktop-light")
    grace.picture("phone-dark")

    server.kill()
    for window in ada, grace:
        expect(window.offline).to_contain_text("You are offline")
        expect(window.page.locator("#link-state")).to_have_text(re.compile("Offline|Connecting"))
        expect(window.send).to_be_disabled()
    ada.message.fill("Are you still there?")
    ada.picture("desktop-offline")
    grace.picture("phone-offline")

    server.start()
    for window in ada, grace:
        expect(window.offline).to_be_empty()
        expect(window.page.locator("#link-state")).to_have_text("Online")
        expect(window.count).to_have_text("2 people here")
    expect(ada.message).to_have_value("Are you still there?")
    ada.message.press("Enter")
    grace.sees("Ada Lovelace", "Are you still there?")
    grace.say("Still here.")
    ada.sees("Grace Hopper", "Still here.")
    ada.picture("desktop-back")

    lost = [fault for fault in ada.faults + grace.faults if "ERR_CONNECTION_REFUSED" not in fault]
    assert not lost
    ada.faults.clear()
    grace.faults.clear()
    grace.close()
    ada.notices("Grace Hopper left")
    expect(ada.count).to_have_text("Only you are here")
    ada.close()


def test_a_page_notices_that_a_silent_server_is_gone_and_finds_it_when_it_is_back(
    browser: Browser, server: ChatServer
) -> None:
    ada = Window(browser)
    ada.page.clock.install()
    ada.enter(server, "Ada")
    with server.frozen():
        ada.page.clock.fast_forward("00:21")  # it asks
        ada.page.clock.fast_forward("00:11")  # and hears nothing
        expect(ada.offline).to_contain_text("You are offline")
    expect(ada.offline).to_be_empty()
    expect(ada.page.locator("#link-state")).to_have_text("Online")
    expect(ada.count).to_have_text("Only you are here")
    ada.say("Welcome back")
    ada.close()


def test_a_page_that_hears_nothing_asks_and_stays_online(browser: Browser, server: ChatServer) -> None:
    ada = Window(browser)
    ada.page.clock.install()
    with ada.page.expect_websocket() as opened:
        ada.enter(server, "Ada")
    with opened.value.expect_event("framereceived", lambda data: '"pong"' in str(data)):
        ada.page.clock.fast_forward("00:21")
    expect(ada.page.locator("#link-state")).to_have_text("Online")
    ada.close()


def test_a_message_that_was_not_sent_can_be_sent_again(browser: Browser, server: ChatServer) -> None:
    ada = Window(browser)
    ada.enter(server, "Ada")
    with server.frozen():
        ada.message.fill("Can you hear me?")
        ada.message.press("Enter")
        expect(ada.log.locator(".pending .words")).to_have_text("Can you hear me?")
        server.kill()
        expect(ada.log.locator(".failed")).to_contain_text("Not sent: the connection was lost.")
        server.start()
    expect(ada.page.locator("#link-state")).to_have_text("Online")
    ada.page.get_by_role("button", name="Send again").click()
    expect(ada.log.locator(".own .words").last).to_have_text("Can you hear me?")
    expect(ada.log.locator(".pending, .failed")).to_have_count(0)
    ada.faults.clear()
    ada.close()


def test_rooms_are_apart_and_a_reload_stays_in_its_room(browser: Browser, server: ChatServer) -> None:
    ada, grace = Window(browser, DESKTOP, "dark"), Window(browser, PHONE)
    ada.enter(server, "Ada", "lobby")
    grace.enter(server, "Grace", "lobby")
    ada.notices("Grace joined")
    grace.page.get_by_role("button", name="Rooms and members").click()
    grace.picture("phone-light-lists")
    grace.page.get_by_role("link", name="garden").click()
    expect(grace.page.get_by_role("heading", level=1)).to_have_text("garden")
    ada.notices("Grace left")
    expect(ada.page.get_by_role("link", name="garden, 1 person")).to_be_visible()
    grace.say("Nobody hears me.")
    ada.say("It is quiet here.")
    expect(ada.log).not_to_contain_text("Nobody hears me.")

    grace.page.reload()
    expect(grace.page.get_by_role("heading", level=1)).to_have_text("garden")
    expect(grace.page.locator("#link-state")).to_have_text("Online")
    ada.page.get_by_label("Name of another room").fill("Garden")
    ada.page.get_by_role("button", name="Go to that room").click()
    grace.notices("Ada joined")
    ada.say("Found you.")
    grace.sees("Ada", "Found you.")
    ada.picture("desktop-dark")
    grace.picture("phone-light")

    ada.page.get_by_role("button", name="Leave").click()
    expect(ada.page.get_by_label("Your name")).to_have_value("Ada")
    grace.notices("Ada left")
    ada.picture("door-desktop-dark")
    grace.close()
    ada.close()


def test_a_refused_room_is_explained_and_one_stays_where_one_is(browser: Browser, server: ChatServer) -> None:
    ada = Window(browser)
    ada.page.goto(f"{server.url}#{'x' * 30}")
    ada.page.get_by_label("Your name").fill("Ada")
    ada.page.get_by_role("button", name="Join the room").click()
    expect(ada.page.get_by_role("alert")).to_have_text("The room name is too long: at most 24 characters.")
    ada.picture("door-desktop-light")
    ada.enter(server, "Ada", "attic")
    ada.page.evaluate("location.hash = 'x'.repeat(30)")
    ada.notices("The room name is too long: at most 24 characters.")
    expect(ada.page.get_by_role("heading", level=1)).to_have_text("attic")
    assert ada.page.evaluate("location.hash") == "#attic"
    ada.close()


def test_a_reader_who_scrolled_up_stays_there_and_is_told_of_what_is_new(browser: Browser, server: ChatServer) -> None:
    ada, grace = Window(browser, PHONE, "dark"), Window(browser)
    ada.enter(server, "Ada")
    grace.enter(server, "Person with a long name!")
    for number in range(12):
        grace.say(f"{number}: {'Supercalifragilisticexpialidocious' * 4}")
    top = "document.getElementById('log').scrollTop"
    ada.sees("Person with a long name!", f"11: {'Supercalifragilisticexpialidocious' * 4}")
    expect(ada.log.locator(".message").last).to_be_in_viewport()
    assert ada.page.evaluate("document.body.scrollWidth <= innerWidth")
    ada.log.hover()
    ada.page.evaluate("document.getElementById('log').scrollTop = 0")
    grace.say("One more thing")
    newer = ada.page.get_by_role("button", name="1 new message")
    expect(newer).to_be_visible()
    assert ada.page.evaluate(top) == 0
    ada.picture("phone-new-message")
    newer.click()
    expect(ada.log.locator(".message").last).to_be_in_viewport()
    expect(newer).to_be_hidden()
    ada.close()
    grace.close()


@pytest.fixture(name="workers")
def chat_on_two_workers() -> Iterator[ChatServer]:
    with redis_server() as redis, running_workers(redis.url) as server:
        yield server


def test_two_pages_on_different_workers_are_in_one_room_and_survive_the_crash_of_one(
    browser: Browser, workers: ChatServer
) -> None:
    ada, grace = Window(browser), Window(browser)
    ada.enter(workers, "Ada")
    expect(ada.count).to_have_text("Only you are here")
    grace.enter(workers, "Grace")
    for _ in range(RELOADS):  # the kernel chooses the worker, by the connection's port
        if grace.worker != ada.worker:
            break
        grace.page.reload()
        expect(grace.page.locator("#link-state")).to_have_text("Online")
    assert grace.worker != ada.worker
    ada.notices("Grace joined")
    grace.say("Hello over there!")
    ada.sees("Grace", "Hello over there!")
    ada.say("Hello!")
    grace.sees("Ada", "Hello!")
    for window in ada, grace:
        expect(window.count).to_have_text("2 people here")
        expect(window.page.locator("#members")).to_contain_text("Ada")
        expect(window.page.locator("#members")).to_contain_text("Grace")
        expect(window.page.get_by_role("link", name="lobby, 2 people")).to_be_visible()

    before = {ada.worker, grace.worker}
    killed, other = workers.workers
    os.kill(killed, signal.SIGKILL)
    latest = monotonic() + PATIENCE
    while {ada.worker, grace.worker} == before:  # one of them was there, and comes back in another
        assert monotonic() < latest
        ada.page.wait_for_timeout(10)
    for window in ada, grace:
        expect(window.page.locator("#link-state")).to_have_text("Online")
        expect(window.count).to_have_text("2 people here")
        expect(window.page.locator("#members li")).to_have_count(2)
    ada.say("Are you still there?")
    grace.sees("Ada", "Are you still there?")
    assert f"(process {killed}) died of SIGKILL; the next starts" in workers.complaints
    assert other in workers.workers

    ada.faults.clear()
    grace.faults.clear()
    grace.close()
    ada.notices("Grace left")
    expect(ada.count).to_have_text("Only you are here")
    ada.close()
