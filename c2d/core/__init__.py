"""Shared by all other packages: errors, file names of a run, YAML and JSON readers, run states.

In: files of a store, values from users. Out: checked plain values, or an error that names file, line and fix.
Needs no torch and imports nothing of ours.
"""
