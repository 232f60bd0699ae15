"""Image files of a synthesis, and the images of controls.

In: sizes, boxes, labels and seeds as plain numbers and arrays. Out: pixels (H, W, 3) uint8 RGB, PNG files.
"""
