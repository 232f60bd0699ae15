"""Trackers of the option `--track`: in, the run folder and its events; out, the same numbers in other programs.

The training hands each event to a queue, and one thread for each tracker sends it. Only `tensorboard_tracker.py`,
`mlflow_tracker.py` and `wandb_tracker.py` know a tracker's package, which they import when a run is tracked.
"""
