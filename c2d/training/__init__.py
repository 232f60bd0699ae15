"""One run from spec to result.

In: a run folder with spec.json. Out: the same folder with curves, checkpoints, the exported student and its numbers.
`train.py` is the whole road.
"""
