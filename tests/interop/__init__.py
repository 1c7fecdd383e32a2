"""Other people's WebSocket clients and servers, each a small program, and what runs them for the tests.

A client program takes the socket's URL; each line of its input is sent as a text message, each text message received
is a line of its output, and the end of the input closes the connection. Its last line is the close code. A server
program prints the port where it listens, and sends every message back. After that both take JSON: how to compress, in
the words of their library; without it, as the library does by itself (servers that do not are told to).

An echo client is what a server program is, on the other side: it sends everything back. It offers the subprotocols v1
and v2, and prints which it was given; a server chooses v2 where that is offered. Both take orders as text messages:
`/ping data` lets them send a ping, and `/pong data` once it is answered, and `/close code reason` close. At the end
of a connection both print code and reason of its close, as a list in JSON. A reason has few words.
"""
