"""Time of our own code.

In: sizes. Out: seconds and MiB of evaluation, planning, reading and reporting on synthetic data.
Other tools run beside ours.
"""
