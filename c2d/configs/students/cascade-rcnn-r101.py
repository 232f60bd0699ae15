"""Cascade R-CNN (three stages) on ResNet101 with FPN 256: mmdet's stock model and recipe at 1333x800."""

_base_ = "./cascade-rcnn-r50.py"
model = dict(backbone=dict(depth=101))
