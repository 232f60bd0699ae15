"""Trackers of the option `--track`: in, the events of a run; out, the same numbers in TensorBoard, MLflow or W&B."""
