"""Actions of the commands.

In: a plan. Out: launched, retried, cancelled or removed runs.
The only folder that starts or stops runs.
"""
