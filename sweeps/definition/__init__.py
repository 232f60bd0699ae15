"""A sweep as a question.

In: a YAML file with axes, rules and seeds. Out: a `Definition` and its grid of cells, each with a run spec.
Pure: nothing is launched here.
"""
