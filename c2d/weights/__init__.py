"""Weight files.

In: a file, a name of torchvision, or nothing. Out: tensors in a model, with an account of every key.
Nothing in a file is executed.
"""
