// An echo server on Bun: what such a program does is told in __init__.py.
const [compression = '{"perMessageDeflate": true}'] = process.argv.slice(2);
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: (request, server) => (server.upgrade(request) ? undefined : new Response("WebSockets only", { status: 400 })),
  websocket: { ...JSON.parse(compression), message: (ws, message) => ws.send(message, true) },
});
console.log(server.port);
