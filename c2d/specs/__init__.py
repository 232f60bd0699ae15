"""The specification of one run.

In: a YAML file in which defaults are left out and names identify data, students, schedules and teachers. Out: a
`RunSpec` with every value written out, and its id.
Needs no torch for shipped names.
"""
