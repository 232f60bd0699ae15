"""Smoke: every cell of a definition as a run of two steps on eight generated images, on a CPU.

In: definitions. Out: a store in which every cell was trained, exported and evaluated by the code of a real run, a line
for each cell, and the manifest that reports read. `smoke_spec` says what is replaced; all else is as in the real run.
"""
