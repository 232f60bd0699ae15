"""Fits of classifiers whose trunk is frozen, which take no step.

In: a built model and its training images. Out: the model with its last layer, and what result.json records about it.
"""
