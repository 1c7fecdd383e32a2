// python examples/chat/server.py, then open http://127.0.0.1:3000/
// The lines of a room on the page: messages, our own on their way, notices, and whether the newest is in view. It knows
// nothing of the connection: chat.js uses it. Words reach the page only as text, never as HTML.

const MAX_LINES = 500; // kept on the page
const TOGETHER = 3 * 60_000; // messages of one person within this many milliseconds share a heading
const NEAR = 48; // pixels from the end that still count as being there

const element = document.getElementById("log");
let top = 0; // where the reader was last
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

export const log = {
  atEnd: true, // is the newest line in view? Then it stays so
  moved: () => {}, // called when the reader scrolls

  get empty() {
    return !element.firstChild;
  },

  clear() {
    element.replaceChildren();
    this.atEnd = true;
  },

  toEnd() {
    element.scrollTop = element.scrollHeight;
    top = element.scrollTop;
  },

  add(line, follow = false) {
    element.append(line);
    while (element.childElementCount > MAX_LINES) element.firstElementChild.remove();
    if (follow || this.atEnd) this.toEnd();
  },

  notice(name, words, kind = "") {
    const who = name ? [make("bdi", {}, name)] : [];
    this.add(make("p", { className: `notice ${kind}` }, ...who, words));
  },

  message({ id, name, text, at }, own) {
    const last = element.lastElementChild;
    const more = last?.dataset.from === String(id) && at * 1000 - last.dataset.at < TOGETHER;
    const line = make("article", { className: `message${own ? " own" : ""}${more ? " more" : ""}` },
      paint(make("span", { className: "face", ariaHidden: "true" }), name),
      make("div", { className: "by" }, make("bdi", {}, own ? "You" : name), make("time")),
      make("div", { className: "words", dir: "auto" }, ...linked(text)));
    line.style.setProperty("--hue", hue(name));
    line.dataset.from = id;
    stamp(line, at);
    this.add(line, own);
    return line;
  },

  // Our own message is on the page at once, faintly, until the server has sent it round to everybody.
  ownMessage(id, name, text) {
    const line = this.message({ id, name, text, at: Date.now() / 1000 }, true);
    line.classList.add("pending");
    line.ariaBusy = "true";
    return line;
  },

  confirm(line, { text, at }) {
    line.classList.remove("pending");
    line.ariaBusy = null;
    line.querySelector(".words").replaceChildren(...linked(text));
    stamp(line, at);
  },

  fail(line, why, sendAgain) {
    line.classList.replace("pending", "failed");
    line.ariaBusy = null;
    const again = make("button", { type: "button", className: "quiet", onclick: () => sendAgain(line) }, "Send again");
    line.append(make("p", { className: "why small" }, why, " ", again));
    if (this.atEnd) this.toEnd();
  },
};

// Only a reader who scrolls up leaves the end. The page may shrink between two scroll events, which is no such wish.
element.addEventListener("scroll", () => {
  const near = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR;
  log.atEnd = near || (log.atEnd && element.scrollTop >= top);
  top = element.scrollTop;
  log.moved();
}, { passive: true });
new ResizeObserver(() => { if (log.atEnd) log.toEnd(); }).observe(element); // a phone's keyboard comes and goes

export function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export function paint(face, name) {
  const [first] = new Intl.Segmenter().segment(name.toUpperCase());
  face.textContent = first.segment;
  face.style.setProperty("--hue", hue(name));
  return face;
}

function stamp(line, at) {
  const date = new Date(at * 1000);
  line.dataset.at = date.getTime();
  line.querySelector("time").dateTime = date.toISOString();
  line.querySelector("time").textContent = clock.format(date);
}

function linked(text) {
  return text.replace(/\n{3,}/g, "\n\n").split(/(https?:\/\/[^\s<>"]*[^\s<>".,;:!?)\]'])/).map((part, i) =>
    i % 2 ? make("a", { href: part, target: "_blank", rel: "noopener noreferrer nofollow" }, part) : part);
}

function hue(name) {
  let sum = 7;
  for (const character of name) sum = (sum * 31 + character.codePointAt(0)) % 3600;
  return sum / 10;
}
