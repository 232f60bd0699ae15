"""SLURM's commands.

In: job ids, a batch script. Out: facts about jobs (squeue, sacct, scontrol), the number of a submitted job.
The only folder that starts a command of SLURM.
"""
