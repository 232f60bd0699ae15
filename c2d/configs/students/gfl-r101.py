"""GFL on ResNet101 with FPN 256: mmdet's stock model and recipe, short side 480 to 800; LD's and CrossKD's teacher."""

_base_ = "mmdet::gfl/gfl_r101_fpn_ms-2x_coco.py"
input_size = (1333, 800)
