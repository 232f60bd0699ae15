"""Code that runs on a compute node.

In: a pickled task and SLURM's environment. Out: a trained run folder, or a recorded failure and a requeue.
Imports torch only inside the job.
"""
