"""The command line, `trio-bunws`: each command in a file of its own, over the public API alone.

Nothing here is imported with the package, and nothing of it is public but what `trio-bunws --help` tells.
"""
