"""The campaign `make trust`: kills, faults, soak, fuzzing and odd data, with their figures in docs/results/trust.md.

A part is a module with `rows(scratch: Path) -> Iterator[Row]` and a line in `PARTS` of `tests/trust/__main__.py`. It
runs in a process of its own; `scratch` is an empty folder with a short path, removed afterwards. A short form of the
most important parts is a test (`tests/trust/test_*.py`) and so part of `make test`.

Smaller campaigns: C2D_TRUST_KILLS (of each phase, 25), C2D_TRUST_ROUNDS (of two writers, 8), C2D_TRUST_STORE (100000),
C2D_TRUST_LOCAL_RUNS (2000), C2D_TRUST_JOBS (1000).
"""
