"""YOLO text layout: one label file an image, a line an object, in fractions of the image.

In: data.yaml (or darknet's .data file), images and label files. Out: COCO files with a data card, and notes.
"""
