"""Data sets with few labelled images: a part of the training images of another data set.

In: a card, a share or a number of images, a seed. Out: a folder with its own card, whose other splits are unchanged.
"""
