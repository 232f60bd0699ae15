"""The live view of sweeps, `c2d sweep watch`: one data model, as a table on a terminal and as a page that reloads.

In: manifests, run folders, SLURM's answers, each read only as far as it has changed. Out: a table, lines, an HTML file.
"""
