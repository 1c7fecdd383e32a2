// An echo client on Bun's own WebSocket: what such a program does is told in __init__.py.
const socket = new WebSocket(process.argv[2], ["v1", "v2"]);
socket.binaryType = "nodebuffer";
socket.onopen = () => console.log(socket.protocol);
socket.onmessage = ({ data }) => {
  const [order, first, ...rest] = typeof data === "string" ? data.split(" ", 9) : [];
  if (order === "/ping") socket.ping(first);
  else if (order === "/close") socket.close(Number(first), rest.join(" "));
  else socket.send(data);
};
socket.addEventListener("pong", ({ data }) => socket.send(`/pong ${data}`));
socket.onclose = ({ code, reason }) => {
  console.log(JSON.stringify([code, reason]));
  process.exit(0);
};
