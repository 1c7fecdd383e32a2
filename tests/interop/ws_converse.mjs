// How a program on Node's `ws` obeys and echoes, on either side: what is told to it is in __init__.py.
export function converse(ws) {
  ws.on("message", (data, isBinary) => {
    const [order, first, ...rest] = isBinary || data.length > 200 ? [] : data.toString().split(" ");
    if (order === "/ping") ws.ping(first);
    else if (order === "/close") ws.close(Number(first), rest.join(" "));
    else ws.send(data, { binary: isBinary });
  });
  ws.on("pong", (data) => ws.send(`/pong ${data}`));
  ws.on("close", (code, reason) => console.log(JSON.stringify([code, reason.toString()])));
}
