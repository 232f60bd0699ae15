"""What the converters of other layouts share.

In: images and boxes as a layout has them. Out: COCO files with a data card, and notes on what was corrected or dropped.
"""
