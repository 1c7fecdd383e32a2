// A client program on Node's `ws`: what such a program does is told in __init__.py.
import { createInterface } from "node:readline";
import WebSocket from "ws";

const [url, compression = "{}"] = process.argv.slice(2);
const socket = new WebSocket(url, JSON.parse(compression));
socket.on("open", () => {
  const input = createInterface({ input: process.stdin });
  input.on("line", (line) => socket.send(line));
  input.on("close", () => socket.close(1000));
});
socket.on("message", (data) => console.log(data.toString()));
socket.on("close", (code) => {
  console.log(code);
  process.stdin.destroy();
});
