"""ATSS on ResNet101 with FPN 256: mmdet's stock model and recipe at 1333x800, the usual teacher of R50."""

_base_ = "mmdet::atss/atss_r101_fpn_1x_coco.py"
input_size = (1333, 800)
