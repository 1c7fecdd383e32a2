# python examples/chat/bot.py [--url ws://127.0.0.1:3000/chat] [--room lobby] [--name Robin]
"""A member of the chat that answers when it is spoken to, and comes back by itself when the server has been away.

It is a plain trio-websocket client and shares nothing with server.py but the protocol told at the head of that file.
Ctrl-C or SIGTERM ends it.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
from datetime import datetime
from random import SystemRandom

import attrs
import trio
from trio_websocket import ConnectionClosed, HandshakeError, open_websocket_url

FIRST_WAIT = 0.5  # seconds before the first new try; it doubles ...
LAST_WAIT = 30.0  # ... up to this
RANDOM = SystemRandom()


@attrs.define
class Bot:
    """One bot in one room of one server."""

    url: str
    room: str
    name: str
    id: int | None = None  # while the server has it in the room
    members: dict[int, str] = attrs.field(factory=dict[int, str])

    async def run(self) -> None:
        """Stay in the room until cancelled, through any loss of the connection."""
        wait = FIRST_WAIT
        while True:
            try:
                async with open_websocket_url(self.url) as ws:
                    await ws.send_message(json.dumps({"type": "join", "name": self.name, "room": self.room}))
                    while True:
                        answer = self.heard(json.loads(await ws.get_message()))
                        if answer is not None:
                            await ws.send_message(json.dumps({"type": "say", "text": answer}))
                        if self.id is not None:
                            wait = FIRST_WAIT
            except (HandshakeError, ConnectionClosed, OSError) as error:
                self.id = None
                pause = wait * RANDOM.uniform(0.5, 1.0)  # not all clients at once, when a server restarts
                print(f"Away ({type(error).__name__}); trying again in {pause:.1f} s", flush=True)
                await trio.sleep(pause)
                wait = min(LAST_WAIT, 2 * wait)

    def heard(self, event: object) -> str | None:
        """Follow who is here; return the answer to what others say, if there is one."""
        match event:
            case {"type": "welcome", "id": int(own), "members": [*members]}:
                self.id = own
                self.members = {member["id"]: member["name"] for member in members}
                print(f"{self.name} is in {self.room}", flush=True)
            case {"type": "here", "members": [*members]}:
                self.members |= {member["id"]: member["name"] for member in members}
            case {"type": "joined", "id": int(who), "name": str(name)}:
                self.members[who] = name
            case {"type": "left", "id": int(who)}:
                self.members.pop(who, None)
            case {"type": "said", "id": int(who), "text": str(text)} if who != self.id:
                return self.answer(text)
            case {"type": "error", "message": str(message)}:
                print(f"The server says: {message}", flush=True)
            case _:  # the rooms' counts, and whatever may come to be
                pass
        return None

    def answer(self, text: str) -> str | None:
        """Find what to say to that, if anything. No answer asks for another, or two bots would never stop."""
        match text.lower().split():
            case ["!help", *_]:
                return "I know !time (what time it is here), !who (who is in this room) and !roll (a die)."
            case ["!time", *_]:
                return f"It is {datetime.now().astimezone():%H:%M:%S, %A %d %B %Y (%Z)}."
            case ["!who", *_]:
                return f"In this room: {', '.join(sorted(self.members.values()))}."[:1000]
            case ["!roll", *_]:
                return f"The die shows {RANDOM.randint(1, 6)}."
            case _ if re.search(rf"(?<!\w){re.escape(self.name)}(?!\w)", text, re.IGNORECASE):
                return "Somebody called? Say !help to see what I can do."
            case _:
                return None


async def main(bot: Bot) -> None:
    """Run the bot until the terminal or the system asks for the end."""
    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            nursery.start_soon(bot.run)
            async for _ in signals:
                break
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A bot for the chat of server.py.")
    parser.add_argument("--url", default="ws://127.0.0.1:3000/chat", help="(default: %(default)s)")
    parser.add_argument("--room", default="lobby", help="(default: %(default)s)")
    parser.add_argument("--name", default="Robin", help="(default: %(default)s)")
    arguments = parser.parse_args()
    trio.run(main, Bot(arguments.url, arguments.room, arguments.name))
