"""AP and TIDE of a data set whose images are drawn with replacement.

In: ground truth and detections as arrays. Out: numbers of each class and resample, as arrays.
"""
