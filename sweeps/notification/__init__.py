"""One message when a sweep has ended: a mail of SLURM, or a command of the profile.

In: a launched sweep. Out: a small job that runs after all jobs of the sweep, and what it sends.
"""
