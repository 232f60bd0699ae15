"""Every number of a pair of files.

In: COCO ground truth and a COCO results list, as files. Out: what a run's result.json has of its evaluation, as a dict.
"""
