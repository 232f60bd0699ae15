"""Checks of a sweep before it is launched.

In: a definition, a grid, a profile. Out: problems with file, line and fix.
The training step runs in a process of its own.
"""
