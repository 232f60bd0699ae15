"""Inference time of one student.

In: a run, or a config with a checkpoint. Out: raw samples in ms with their conditions, as files and a table.
A sample goes from student to pipeline, stages, timing, row and file; a backend is timed if it is equal to eager.
"""
