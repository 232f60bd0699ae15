"""The state of the machine during a measurement.

In: nothing, or a call. Out: CPU and GPU facts, disturbances by other work, peak memory in MiB.
Imports no student.
"""
