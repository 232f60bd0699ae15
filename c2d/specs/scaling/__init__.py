"""Schedules at another batch.

In: the plain values of a schedule. Out: its values at another batch, and a line that says what changed.
"""
