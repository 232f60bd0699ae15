"""Ways to fit a frozen network to the classes of a data set without training it.

In: a network, features of crops, or text embeddings of the class names. Out: the last layer of a classifier.
"""
