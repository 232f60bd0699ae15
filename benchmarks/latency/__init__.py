"""Inference time of one student.

In: a run, or a config with a checkpoint. Out: raw samples in ms with their conditions, a file and a table.
Every backend is first shown equal to eager.
"""
