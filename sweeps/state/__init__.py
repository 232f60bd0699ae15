"""The state of a sweep.

In: its manifest, run folders, the queue. Out: a row for every planned run with state and reason, totals, time left.
Reads only; the manifest is the one file written.
"""
