"""Estimated GPU hours of definitions: counted FLOPs of every run over what a card achieves by published speeds.

In: definitions of sweeps, expanded by `c2d sweep plan --json --specs` in a process. Out: a table, JSON or CSV.
"""
