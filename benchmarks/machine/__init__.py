"""The machine during a measurement.

In: nothing, or a process. Out: CPU and GPU facts, disturbances, peak memory in MiB.
Imports no student.
"""
