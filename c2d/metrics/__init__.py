"""Detection and classification numbers.

In: COCO ground truth and a COCO results list. Out: COCO AP, TIDE errors, AP of resampled images, as plain dicts and
arrays.
Needs no torch.
"""
