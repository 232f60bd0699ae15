"""CVAT for images 1.1: one XML file with the images, their labels and shapes.

In: the XML file and the images. Out: COCO files with a data card, and notes on what was dropped or turned into boxes.
"""
