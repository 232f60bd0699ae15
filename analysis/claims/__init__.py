"""Claims as a table.

In: the frame and a claims specification. Out: a `Table`, one row a comparison: estimate, intervals, p, verdict.
A claim about runs that do not exist yet has the verdict "not run"; one about cells that no sweep plans is an error.
"""
