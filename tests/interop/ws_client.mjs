// A client program on Node's `ws`: what such a program does is told in __init__.py.
import { createInterface } from "node:readline";
import WebSocket from "ws";

const socket = new WebSocket(process.argv[2]);
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
