"""What the jobs of a sweep read: data sets, weights, packages; all of it is got once, on a machine with a network.

In: a grid. Out: a row for each thing that is needed: it is here, was downloaded, or is missing, with the fix.
"""
