// An echo server on Node's `ws`: what such a program does is told in __init__.py.
import { WebSocketServer } from "ws";
import { converse } from "./ws_converse.mjs";

const [compression = '{"perMessageDeflate": true}'] = process.argv.slice(2);
const options = {
  host: "127.0.0.1",
  port: 0,
  handleProtocols: (offered) => offered.has("v2") && "v2",
  ...JSON.parse(compression),
};
const server = new WebSocketServer(options, () => console.log(server.address().port));
server.on("connection", (ws) => converse(ws));
