"""Finished runs as one folder for others, and such folders into a store.

In: a store and the names of runs or sweeps. Out: a folder that is a store itself, with ARCHIVE.json, the sha256 of
every file. Nothing in a store is ever replaced.
"""
