"""What a classifier teacher says about boxes of the evaluation images.

In: a finished detector run, a classifier, boxes. Out: the teacher's best classes of each crop.
"""
