"""Runs that take no step: classifiers whose trunk is frozen, and whole detectors that are evaluated alone.

In: a built model and its training images, or the AP of an evaluation. Out: the model with its last layer, and what
result.json records about it.
"""
