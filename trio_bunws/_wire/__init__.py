"""The protocols without I/O: bytes in, events out; HTTP/1.1 on h11 and WebSocket frames beside wsproto.

Nothing here imports trio, `ssl`, `socket` or `time`, and nothing outside imports h11 or wsproto. `_session` drives the
HTTP half and `_connection` the WebSocket half.
"""
