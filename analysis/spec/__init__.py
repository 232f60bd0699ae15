"""Specifications of tables and figures.

In: a YAML file. Out: the specification of one table or one figure, and the quantities it may name.
Every mistake is reported with its line.
"""
