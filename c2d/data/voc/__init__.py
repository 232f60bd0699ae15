"""Pascal VOC layout.

In: Annotations/, ImageSets/, JPEGImages/. Out: COCO files with a data card, and notes on what was corrected or dropped.
"""
