// Node's ws, the way its README broadcasts ("Server broadcast"): a loop over all clients with send(). Compression is
// off by default and left so, but for `fanout`; there its default, with context takeover, is `dedicated`. Started by the
// benchmarks with `chat CLIENTS`, `echo` or `fanout CLIENTS COMPRESSOR`; prints its port.
const { WebSocket, WebSocketServer } = require("ws");

const [work, count, compressor] = process.argv.slice(2);
const shared = { serverNoContextTakeover: true, clientNoContextTakeover: true };
const perMessageDeflate = work === "fanout" && (compressor === "shared" ? shared : true);
const options = { host: "127.0.0.1", port: 0, perMessageDeflate };
const server = new WebSocketServer(options, () => console.log(server.address().port));
let missing = Number(count);

function broadcast(data, options) {
  server.clients.forEach((client) => {
    if (client.readyState === WebSocket.OPEN) client.send(data, options);
  });
}

function chat(ws, request) {
  const name = new URL(request.url, "http://localhost").searchParams.get("name");
  ws.on("message", (text) => broadcast(`${name}: ${text}`));
  if (--missing === 0) broadcast("ready");
}

function echo(ws) {
  ws.on("message", (message, isBinary) => ws.send(message, { binary: isBinary }));
}

function fanout(ws) {
  ws.on("message", (message, isBinary) => broadcast(message, { binary: isBinary }));
  if (--missing === 0) broadcast("ready", { compress: false });
}

server.on("connection", { chat, echo, fanout }[work]);
