"""The specification of one run.

In: a YAML file in which defaults are left out and names stand for data, students, schedules and teachers. Out: a
`RunSpec` with every value written out, and its id.
Needs no torch for shipped names.
"""
