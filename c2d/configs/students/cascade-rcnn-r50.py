"""Cascade R-CNN (three stages) on ResNet50 with FPN 256: mmdet's stock model and recipe at 1333x800."""

_base_ = ["mmdet::_base_/models/cascade-rcnn_r50_fpn.py", "mmdet::_base_/datasets/coco_detection.py"]
input_size = (1333, 800)
