"""Reports of a study.

In: a store, names of sweeps, specifications. Out: a folder of tables, figures and one page; or what one number is
made of.
Nothing in the store is changed.
"""
