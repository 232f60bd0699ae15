"""Count the operations of one call of a model.

In: a model and its input. Out: parameters, MACs, FLOPs, and the operators that were not counted.
Formulas are one table.
"""
