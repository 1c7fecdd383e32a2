"""Coverage-guided fuzzing of what reads a peer's bytes: a file for each target, and `run.py` that mutates its inputs.

A target is a function `check(data)` that raises where something is wrong. It knows nothing of the fuzzer, so that
tests/test_fuzz.py can play the corpus in every test run; `nox -s fuzz` looks for new inputs.
"""
