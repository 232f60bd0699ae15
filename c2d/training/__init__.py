"""One run from spec to result; `train.py` calls the steps in order.

In: a run folder with spec.json.
Out: the same folder with metrics, checkpoints, the exported weights and the result of their evaluation.
"""
