"""Reproduce a table with one command.

In: the name of a shipped report, and a profile. Out: the runs of its sweep in the store, and the report.
`sweeps/frozen` has the run ids that each of these sweeps planned when its reference was frozen.
"""
