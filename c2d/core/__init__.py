"""Shared by all other packages: errors, file names of a run, YAML and JSON readers, run states.

In: files of a store, values from users. Out: checked plain values, or an error that names file, line and fix.
Needs no torch and imports nothing of ours.
"""

# Here, and not in c2d/__init__.py, which imports from the folders that need it.
__version__ = "0.1.0"
