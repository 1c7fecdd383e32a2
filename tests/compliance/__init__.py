"""Autobahn's WebSocket test suite against this package; `nox -s compliance` runs it.

`runs.py` and `client_runs.py` are the tables of what is run, `echo_server.py` and `echo_client.py` are what is tested,
`report.py` judges what came out, and `run.py` brings them together. The suite itself is not part of this repository.
"""
