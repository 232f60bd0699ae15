"""Why a run failed.

In: status files, logs, facts of SLURM. Out: a failure class with evidence, and what is done about it.
Pure: nothing is retried here.
"""
