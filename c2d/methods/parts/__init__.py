"""What a single method needs and what is too long for its file.

In: positives or training images of that method. Out: tensors for its losses.
A part is imported by its method only.
"""
