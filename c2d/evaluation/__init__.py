"""Evaluation of exported weights by stock mmdet, without wrapper, teacher or method.

In: a config, a weight file and a data card. Out: detections and the content of result.json.
"""
