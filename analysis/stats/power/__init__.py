"""Power of the comparisons with a baseline, before the seeds of the main table are trained.

In: the numbers of a few seeds. Out: the residual standard deviation with its interval, the smallest difference that
a number of seeds detects, and the number of seeds that detects a difference.
"""
