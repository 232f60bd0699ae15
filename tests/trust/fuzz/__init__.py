"""Fuzzing of every parser: files that people write, that other programs write, and that were damaged.

`targets` has a function for each parser: bytes in; it returns, or raises an InputError or a RunError with a message.
`edits` changes valid documents, `campaign` counts inputs and failures, `coverage_guided` runs atheris, `run_target` all
of it for one parser. The inputs that found a failure, and those that reach most of a parser, are in corpus/TARGET;
`test_fuzz.py` runs them all in `make test`.
"""
