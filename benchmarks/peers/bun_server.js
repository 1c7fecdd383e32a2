// Bun's own server, as in bench/websocket-server/chat-server.bun.js of its repository: native topics, publish to
// self; compressed only for `fanout`. Started by the benchmarks with `chat CLIENTS`, `echo` or
// `fanout CLIENTS COMPRESSOR`, then perhaps `--tls` and a PEM file with key and certificate; prints its port.
const { readFileSync } = require("node:fs");
const [work, count, compressor] = process.argv.slice(2);
const pem = process.argv.includes("--tls") ? readFileSync(process.argv[process.argv.indexOf("--tls") + 1]) : undefined;
let missing = Number(count);

const chat = {
  publishToSelf: true,
  perMessageDeflate: false,
  open(ws) {
    ws.subscribe("room");
    if (--missing === 0) server.publish("room", "ready");
  },
  message(ws, text) {
    if (ws.publishText("room", `${ws.data.name}: ${text}`) === 0) throw new Error("a message was dropped");
  },
};

const echo = {
  perMessageDeflate: false,
  message(ws, message) {
    ws.send(message);
  },
};

const fanout = {
  publishToSelf: true,
  perMessageDeflate: compressor === "shared" ? true : { compress: compressor, decompress: compressor },
  open(ws) {
    ws.subscribe("room");
    if (--missing === 0) server.publish("room", "ready", false);
  },
  message(ws, text) {
    if (ws.publishText("room", text, true) === 0) throw new Error("a message was dropped");
  },
};

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  tls: pem && { key: pem, cert: pem },
  fetch(request, server) {
    const name = new URL(request.url).searchParams.get("name");
    if (!server.upgrade(request, { data: { name } })) return new Response("WebSockets only", { status: 400 });
  },
  websocket: { chat, echo, fanout }[work],
});
console.log(server.port);
