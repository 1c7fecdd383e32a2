// A client program on Bun's own WebSocket: what such a program does is told in __init__.py.
import { createInterface } from "node:readline";

const [url, compression = "{}"] = process.argv.slice(2);
const socket = new WebSocket(url, JSON.parse(compression));
socket.onopen = () => {
  const input = createInterface({ input: process.stdin });
  input.on("line", (line) => socket.send(line));
  input.on("close", () => socket.close(1000));
};
socket.onmessage = (event) => console.log(event.data);
socket.onclose = (event) => {
  console.log(event.code);
  process.exit(0);
};
