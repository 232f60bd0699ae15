"""ImageNet layout, and any tree with a folder of images for each class.

In: train/CLASS/ and val/CLASS/, or val/ with a list of labels. Out: COCO files whose boxes are whole images, with a
data card, and notes on what was left out.
"""
