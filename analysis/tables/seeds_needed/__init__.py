"""Tables of a power analysis: how many seeds detect a difference.

In: the frame and a spec. Out: a `Table` for each number, with one row for each baseline.
"""
