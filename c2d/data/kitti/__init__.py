"""KITTI's 2D object layout.

In: training/image_2/*.png and training/label_2/*.txt. Out: COCO files with a data card, and notes on what was dropped.
"""
