"""Definitions of sweeps and profiles of machines.

In: a YAML file with axes, rules and seeds. Out: a `Definition` and its grid of cells, each with a run spec.
Nothing is launched here.
"""
