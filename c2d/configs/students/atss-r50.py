"""ATSS on ResNet50 with FPN 256: mmdet's stock model and recipe at 1333x800."""

_base_ = "mmdet::atss/atss_r50_fpn_1x_coco.py"
input_size = (1333, 800)
