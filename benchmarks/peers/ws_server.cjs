// Node's ws, the way its README broadcasts ("Server broadcast"): a loop over all clients with send(). Compression is
// off by default and left so. Started by the benchmarks with `chat CLIENTS` or `echo`; prints its port.
const { WebSocket, WebSocketServer } = require("ws");

const [work, count] = process.argv.slice(2);
const server = new WebSocketServer({ host: "127.0.0.1", port: 0 }, () => console.log(server.address().port));
let missing = Number(count);

function broadcast(text) {
  server.clients.forEach((client) => {
    if (client.readyState === WebSocket.OPEN) client.send(text);
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

server.on("connection", work === "chat" ? chat : echo);
