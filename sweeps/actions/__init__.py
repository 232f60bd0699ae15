"""What a command changes.

In: a plan. Out: launched, retried, cancelled or removed runs.
The only room that starts or stops runs.
"""
