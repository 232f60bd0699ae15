"""Faster R-CNN on ResNeXt101-64x4d with FPN 256: mmdet's stock model at 1333x800, a teacher of R50.

Weights: torchvision:resnext101_64x4d.IMAGENET1K_V1 (mmdet's own start from another training of that network).
"""

_base_ = "./faster-rcnn-r50.py"
model = dict(backbone=dict(type="ResNeXt", depth=101, groups=64, base_width=4))
