"""Linear contrasts of cells over seeds.

In: the numbers of groups of cells, and factors. Out: estimates with their variances, tests and intervals as one family.
"""
