"""Weight files.

In: a file, a name of torchvision or timm, an installed package, or a detector teacher. Out: tensors in a model, with an
account of every key.
Nothing in a file is executed.
"""
