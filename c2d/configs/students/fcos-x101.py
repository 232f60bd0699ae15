"""FCOS on ResNeXt101-64x4d with FPN 256: mmdet's stock model and recipe, short side 640 or 800; a teacher of PKD.

Weights: torchvision:resnext101_64x4d.IMAGENET1K_V1 (mmdet's own start from another training of that network).
"""

_base_ = "mmdet::fcos/fcos_x101-64x4d_fpn_gn-head_ms-640-800-2x_coco.py"
input_size = (1333, 800)
