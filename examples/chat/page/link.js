// python examples/chat/server.py, then open http://127.0.0.1:3000/
// One WebSocket that comes back by itself, and knows when it is gone although nobody said so. It knows nothing of rooms
// or of the page: chat.js uses it.

const QUIET = 20_000; // milliseconds without a word from the server until we ask whether it is there
const DEAD = 30_000; // ... and until we take it for gone
const SLOW = 10_000; // the longest wait for a connection to open
const FIRST = 500; // the wait before the first new try; it doubles ...
const LAST = 15_000; // ... up to this

export class Link {
  state = "connecting"; // or "open", or "offline" until the next try
  retryAt = 0;
  #socket = null;
  #heard = 0; // when the server last said something
  #tries = 0;
  #timer = 0;

  // opened() and received(message) are called for each connection, changed() for each new state.
  constructor(address, { opened, received, changed }) {
    Object.assign(this, { address, opened, received, changed });
    setInterval(() => this.#watch(), 1000);
  }

  connect() {
    clearTimeout(this.#timer);
    this.#drop();
    this.#heard = Date.now();
    const socket = new WebSocket(this.address);
    socket.onopen = () => { this.#to("open"); this.opened(); };
    socket.onmessage = (event) => { this.#heard = Date.now(); this.received(JSON.parse(event.data)); };
    socket.onclose = () => this.lose();
    this.#socket = socket;
    this.#to("connecting");
  }

  send(message) {
    if (this.state === "open") this.#socket.send(JSON.stringify(message));
  }

  // Never quite the same wait for two pages: when a server restarts, they must not all come back at once.
  lose() {
    this.#drop();
    const delay = Math.min(LAST, FIRST * 2 ** this.#tries++) * (0.5 + Math.random() / 2);
    this.retryAt = Date.now() + delay;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.connect(), delay);
    this.#to("offline");
  }

  // The server has let us in: only that makes the next loss a first one again.
  settled() {
    this.#tries = 0;
  }

  // A socket is let go of without waiting: with the network gone its own end could take minutes.
  #drop() {
    if (!this.#socket) return;
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
  }

  #watch() {
    if (!this.#socket) return;
    const quiet = Date.now() - this.#heard;
    if (quiet > (this.state === "open" ? DEAD : SLOW)) this.lose();
    else if (quiet > QUIET) this.send({ type: "ping" });
  }

  #to(state) {
    this.state = state;
    this.changed();
  }
}
