"""Data sets.

In: COCO or Pascal VOC files, or the parameters of procedural scenes. Out: COCO files, a data card, a list of issues.
Needs no torch.
"""
