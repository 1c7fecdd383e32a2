"""Autobahn's WebSocket test suite against this package; `nox -s compliance` runs it.

`runs.py` is the table of what is run, `report.py` judges what came out, `echo_server.py` is the server under test, and
`run.py` brings them together. The suite itself is not part of this repository.
"""
