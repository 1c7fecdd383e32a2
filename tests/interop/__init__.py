"""Other people's WebSocket clients, each a small program, and what runs them and the chat for the tests.

A client program takes the socket's URL; each line of its input is sent as a text message, each text message received
is a line of its output, and the end of the input closes the connection. Its last line is the close code.
"""
