// An echo client on Node's `ws`: what such a program does is told in __init__.py.
import WebSocket from "ws";
import { converse } from "./ws_converse.mjs";

const socket = new WebSocket(process.argv[2], ["v1", "v2"]);
socket.on("open", () => console.log(socket.protocol));
converse(socket);
