"""Claims as a table.

In: the frame and a claims specification. Out: a `Table` with one row a comparison: estimate, intervals, p value, verdict.
A claim about runs that do not exist yet has the verdict "not run"; one about cells that no sweep plans is an error.
"""
