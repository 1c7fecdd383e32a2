// python examples/chat/server.py, then open http://127.0.0.1:3000/
// The page's behaviour: the room on screen and the forms. The connection is link.js, the lines of a room log.js, and what
// the messages mean is told at the head of server.py. Words reach the page only as text, never as HTML.

import { Link } from "./link.js";
import { log, make, paint } from "./log.js";

const $ = (id) => document.getElementById(id);
const phone = matchMedia("(max-width: 47.99rem)");

let me = null; // {id, name, room} while the server has us in a room
let wanted = null; // {name, room} we want to be in, through any loss of the connection
let shown = null; // the room whose messages are on the page
let members = new Map(); // id -> name
let count = 0; // of members; some may have no name yet
let rooms = {}; // name -> members
let pending = []; // our messages on their way, oldest first: the server answers each in order
let unread = 0;

// ---------------------------------------------------------------- the connection

const address = new URL("chat", location.href);
address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
address.hash = "";

const link = new Link(address, {
  opened() {
    rooms = {};
    if (wanted) link.send({ type: "join", ...wanted });
    else link.settled();
  },
  received: receive,
  changed() {
    if (link.state === "offline") lost();
    showLink();
  },
});

function showLink() {
  const state = link.state === "open" ? (me || !wanted ? "online" : "connecting") : link.state;
  document.body.dataset.link = state;
  $("link-state").textContent = { online: "Online", connecting: "Connecting…", offline: "Offline" }[state];
  $("door-state").textContent = { online: "", connecting: "Connecting to the server…", offline: "The server cannot be reached. Trying again…" }[state];
  $("send").disabled = !me;
  $("text").placeholder = me ? "Write a message…" : "Your words wait here";
  const banner = $("offline");
  if (me || !wanted) return banner.replaceChildren();
  if (state !== "offline" || banner.firstChild) return; // read aloud once, not at every try
  banner.replaceChildren(
    make("strong", {}, "You are offline."),
    make("span", { id: "retry", ariaHidden: "true" }),
    make("button", { type: "button", onclick: () => link.connect() }, "Try now"));
  showRetry();
}

function showRetry() {
  const left = Math.ceil((link.retryAt - Date.now()) / 1000);
  if ($("retry")) $("retry").textContent = link.state === "offline" && left > 0 ? `Retrying in ${left} s` : "Trying…";
}

// ---------------------------------------------------------------- what the server says

function receive(event) {
  switch (event.type) {
    case "rooms": changedRooms(event.rooms); break;
    case "welcome": welcome(event); break;
    case "joined": joined(event); break;
    case "here": for (const member of event.members) members.set(member.id, member.name); showMembers(count); break;
    case "left": left(event); break;
    case "said": said(event); break;
    case "error": refused(event); break;
  }
}

function changedRooms(counts) {
  Object.assign(rooms, counts);
  for (const name in rooms) if (rooms[name] === null) delete rooms[name];
  showRooms();
}

function welcome(event) {
  const back = shown === event.room && !me && !log.empty;
  me = { id: event.id, name: event.name, room: event.room };
  wanted = { name: event.name, room: event.room };
  members = new Map(event.members.map((member) => [member.id, member.name]));
  link.settled();
  remember();
  enter(event.name, event.room);
  showLink();
  showMembers(event.count);
  showRooms();
  log.notice("", back ? "You are back. What was said meanwhile is not shown." : `Welcome to ${event.room}.`);
}

function left(event) {
  if (members.delete(event.id)) log.notice(event.name, " left");
  forgetDead(event);
  showMembers(event.count);
}

function joined(event) {
  members.set(event.id, event.name);
  forgetDead(event);
  log.notice(event.name, " joined");
  showMembers(event.count);
  // Another process of the server does not know us: the first of each introduces all of its own.
  const own = [...members.keys()].filter((id) => process(id) === process(me?.id));
  if (process(event.id) !== process(me?.id) && me?.id === Math.min(...own)) link.send({ type: "here" });
}

// When a process of the server has died, nobody has told who left with it.
function forgetDead({ id, count }) {
  const alive = [process(me?.id), process(id)];
  if (members.size > count) members = new Map([...members].filter(([id]) => alive.includes(process(id))));
}

function process(id) {
  return Math.floor(id / 2 ** 32);
}

function say(text) {
  pending.push(log.ownMessage(me.id, me.name, text));
  pending.at(-1).dataset.text = text;
  link.send({ type: "say", text });
}

function sendAgain(line) {
  if (!me) return;
  line.remove();
  say(line.dataset.text);
  $("text").focus();
}

function lost() {
  for (const line of pending) log.fail(line, "Not sent: the connection was lost.", sendAgain);
  pending = [];
  if (me) log.notice("", "The connection was lost.");
  me = null;
}

function said(event) {
  const own = event.id === me?.id;
  const line = own ? pending.shift() : undefined;
  if (line) log.confirm(line, event);
  else log.message(event, own);
  if (document.hidden || (!own && !log.atEnd)) unread++;
  showUnread();
}

function refused(event) {
  if (event.about === "say" && pending.length) return log.fail(pending.shift(), event.message, sendAgain);
  if (event.about === "here") return;
  if (event.about !== "join" || me) log.notice("", event.message, "error");
  if (event.about !== "join") return;
  wanted = me && { name: me.name, room: me.room };
  remember();
  showRooms();
  if (me) return;
  link.settled();
  openDoor(event.message);
}

// ---------------------------------------------------------------- rooms, members, what is unread

function showMembers(now) {
  count = now;
  $("count").textContent = count === 1 ? "Only you are here" : `${count} people here`;
  $("members-title").textContent = `Here now · ${count}`;
  const named = [...members].sort(([a, x], [b, y]) => (b === me?.id) - (a === me?.id) || x.localeCompare(y)).slice(0, 100);
  const items = named.map(([id, name]) => {
    const face = make("span", { className: "face", ariaHidden: "true" });
    paint(face, name);
    return make("li", {}, face, make("bdi", {}, name), id === me?.id ? make("span", { className: "soft" }, "you") : "");
  });
  if (count > items.length) items.push(make("li", { className: "soft" }, `and ${count - items.length} more`));
  $("members").replaceChildren(...items);
}

function showRooms() {
  const names = Object.keys(rooms);
  const focused = document.activeElement?.dataset.room; // the lists are made anew; a keyboard user must not lose the place
  $("rooms").replaceChildren(...names.map((name) => make("li", {}, roomItem("a", name,
    { href: `#${encodeURIComponent(name)}`, ariaCurrent: name === me?.room ? "page" : null }))));
  $("door-rooms").replaceChildren(...names.map((name) => roomItem("button", name,
    { type: "button", className: "chip", onclick: () => { $("door-room").value = name; showChosen(); } })));
  if (focused) $($("door").hidden ? "rooms" : "door-rooms").querySelector(`[data-room=${CSS.escape(focused)}]`)?.focus();
  showChosen();
}

function roomItem(tag, name, properties) {
  const count = rooms[name];
  const item = make(tag, { ...properties, ariaLabel: `${name}, ${count === 1 ? "1 person" : `${count} people`}` },
    make("bdi", {}, name), make("span", { className: "badge" }, count || ""));
  item.dataset.room = name;
  return item;
}

function showChosen() {
  const chosen = $("door-room").value.trim().toLowerCase();
  for (const chip of $("door-rooms").children) chip.ariaPressed = String(chip.dataset.room === chosen);
}

function seen() {
  unread = 0;
  showUnread();
}

function showUnread() {
  document.title = `${unread ? `(${unread}) ` : ""}${shown ? `${shown} · ` : ""}Chat`;
  $("newer").hidden = log.atEnd || !unread;
  $("newer").textContent = unread === 1 ? "1 new message" : `${unread} new messages`;
}

// ---------------------------------------------------------------- coming, going, and the forms

function openDoor(error = "") {
  shown = null;
  $("chat").hidden = true;
  $("door").hidden = false;
  $("door-error").textContent = error;
  $("name").value ||= stored(localStorage, "name") ?? "";
  $("door-room").value = hashRoom() || "lobby";
  showChosen();
  seen();
  $($("name").value ? "door-room" : "name").focus();
}

function enter(name, room) {
  if (shown !== room) {
    log.clear();
    shown = room;
    seen();
  }
  $("room-name").textContent = room;
  $("own-name").textContent = name;
  paint($("own-face"), name);
  if (!$("chat").hidden) return;
  $("door").hidden = true;
  $("chat").hidden = false;
  if (!phone.matches) $("text").focus(); // on a phone that would open the keyboard over the room
}

function go(name, room) {
  wanted = { name: name.trim(), room: room.trim().toLowerCase() };
  link.send({ type: "join", ...wanted });
}

function leave() {
  wanted = me = null;
  pending = [];
  remember();
  openDoor();
  link.connect(); // a new connection is in no room, and the old one's end tells the others
}

// The room is in the address, so that it can be shared; the name is kept by the browser. Storage may be forbidden.
function remember() {
  try {
    if (wanted) localStorage.setItem("name", wanted.name);
    if (wanted) sessionStorage.setItem("inside", wanted.name);
    else sessionStorage.removeItem("inside");
  } catch { /* then a reload asks for the name again */ }
  if (wanted && hashRoom() !== wanted.room) history.replaceState(null, "", `#${encodeURIComponent(wanted.room)}`);
}

function stored(storage, key) {
  try {
    return storage.getItem(key);
  } catch {
    return null;
  }
}

function hashRoom() {
  try {
    return decodeURIComponent(location.hash.slice(1)).trim().toLowerCase();
  } catch {
    return "";
  }
}

function showSide(open) {
  $("side").classList.toggle("open", open);
  $("side-open").ariaExpanded = String(open);
  $("shade").hidden = !open;
  $("room").inert = open;
  if (open) $("side-close").focus();
  else if ($("side").contains(document.activeElement)) $("side-open").focus();
}

function showLeft() {
  const text = $("text");
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight + text.offsetHeight - text.clientHeight}px`;
  const left = text.maxLength - text.value.length;
  $("room-left").textContent = left <= 100 ? `${left} left` : "";
  if (log.atEnd) log.toEnd();
}

function submitted(id, act) {
  $(id).addEventListener("submit", (event) => {
    event.preventDefault();
    act();
  });
}

submitted("door-form", () => {
  $("door-error").textContent = "";
  go($("name").value, $("door-room").value);
});
submitted("new-room", () => {
  location.hash = encodeURIComponent($("new-room-name").value.trim().toLowerCase());
  $("new-room-name").value = "";
  showSide(false);
});
submitted("composer", () => {
  const text = $("text").value.trim();
  if (!text || !me) return;
  $("text").value = "";
  say(text);
  showLeft();
});

$("text").addEventListener("input", showLeft);
$("text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("composer").requestSubmit();
});
$("door-room").addEventListener("input", showChosen);
$("leave").addEventListener("click", () => { showSide(false); leave(); });
$("side-open").addEventListener("click", () => showSide(true));
$("side-close").addEventListener("click", () => showSide(false));
$("shade").addEventListener("click", () => showSide(false));
$("rooms").addEventListener("click", (event) => { if (event.target.closest("a")) showSide(false); });
phone.addEventListener("change", () => showSide(false));
$("newer").addEventListener("click", () => log.toEnd());

addEventListener("keydown", (event) => { if (event.key === "Escape") showSide(false); });
addEventListener("hashchange", () => {
  if (wanted && hashRoom() && hashRoom() !== wanted.room) go(wanted.name, hashRoom());
});
addEventListener("online", () => { if (link.state !== "open") link.connect(); });
addEventListener("offline", () => link.lose());
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  if (log.atEnd) seen();
  if (link.state === "offline") link.connect();
});
log.moved = () => { if (log.atEnd && !document.hidden) seen(); };
setInterval(showRetry, 1000);

// A reload stays in its room; a first visit is asked for a name.
const inside = stored(sessionStorage, "inside");
if (inside && hashRoom()) {
  wanted = { name: inside, room: hashRoom() };
  enter(wanted.name, wanted.room);
} else {
  openDoor();
}
link.connect();
