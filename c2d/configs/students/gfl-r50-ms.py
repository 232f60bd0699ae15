"""GFL on ResNet50 with FPN 256 and a short side of 480 to 800: mmdet's stock model and recipe of its 2x training."""

_base_ = "mmdet::gfl/gfl_r50_fpn_ms-2x_coco.py"
input_size = (1333, 800)
