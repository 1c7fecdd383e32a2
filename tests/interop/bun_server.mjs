// An echo server on Bun: what such a program does is told in __init__.py.
const [compression = '{"perMessageDeflate": true}'] = process.argv.slice(2);
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: (request, server) => {
    const offered = (request.headers.get("Sec-WebSocket-Protocol") ?? "").split(", ");
    const headers = offered.includes("v2") ? { "Sec-WebSocket-Protocol": "v2" } : {};
    return server.upgrade(request, { headers }) ? undefined : new Response("WebSockets only", { status: 400 });
  },
  websocket: {
    ...JSON.parse(compression),
    message: (ws, message) => {
      const [order, first, ...rest] = typeof message === "string" ? message.split(" ", 9) : [];
      if (order === "/ping") ws.ping(first);
      else if (order === "/close") ws.close(Number(first), rest.join(" "));
      else ws.send(message, true);
    },
    pong: (ws, data) => ws.send(`/pong ${data}`),
    close: (ws, code, reason) => console.log(JSON.stringify([code, reason])),
  },
});
console.log(server.port);
