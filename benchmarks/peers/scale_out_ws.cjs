// One process of `scale_out.py`: Node's `ws` with the `redis` package, which pipelines what one tick publishes.
"use strict";
const net = require("node:net");
const { createClient } = require("redis");
const { WebSocketServer } = require("ws");

const [role, url] = process.argv.slice(2);
const messages = Number(process.argv[4]);
const rate = Number(process.argv[5]);
const SIZE = 64;
const FRAME = SIZE + 2;
const BURST = 100;
const turn = () => new Promise(setImmediate);

async function subscribe(client) {
  const sockets = new Set();
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
  server.on("connection", (socket) => sockets.add(socket));
  await new Promise((done) => server.on("listening", done));
  const peer = net.connect(server.address().port, "127.0.0.1");
  peer.write("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");
  await new Promise((done) => peer.once("data", done));
  await client.subscribe("room", (message) => {
    for (const socket of sockets) socket.send(message);
  });
  console.log("ready");
  const latencies = [];
  let received = 0;
  await new Promise((done) => {
    setTimeout(done, 60000).unref();
    peer.on("data", (data) => {
      const now = process.hrtime.bigint();
      received += data.length;
      const end = data.length - (received % FRAME);
      if (end >= FRAME) latencies.push(Number(now - BigInt(data.latin1Slice(end - SIZE, end).trim())));
      if (received >= messages * FRAME) done();
    });
  });
  return { end: Number(process.hrtime.bigint()), received: Math.floor(received / FRAME), latencies };
}

async function publish(client) {
  const begin = process.hrtime.bigint();
  const burst = rate ? Math.max(1, Math.floor(rate / 1000)) : BURST;
  let answers = [];
  for (let number = 0; number < messages; number += burst) {
    while (rate && Number(process.hrtime.bigint() - begin) / 1e9 < number / rate) await turn();
    for (let i = 0; i < burst; i++) {
      answers.push(client.publish("room", String(process.hrtime.bigint()).padEnd(SIZE)));
    }
    await turn();
    if (answers.length >= 10000) {
      await Promise.all(answers);
      answers = [];
    }
  }
  await Promise.all(answers);
  return { begin: Number(begin), lost: 0 };
}

(async () => {
  const client = createClient({ url });
  await client.connect();
  const result = await (role === "subscribe" ? subscribe : publish)(client);
  console.log(JSON.stringify(result));
  process.exit(0);
})();
