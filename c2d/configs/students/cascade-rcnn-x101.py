"""Cascade R-CNN (three stages) on ResNeXt101-64x4d with FPN 256: mmdet's stock model at 1333x800.

FKD and FGD teach Faster R-CNN with a Cascade Mask R-CNN on ResNeXt101. The masks need annotations that this suite does
not read, so this teacher has the boxes alone: a departure of ours. Weights: torchvision:resnext101_64x4d.IMAGENET1K_V1.
"""

_base_ = "./cascade-rcnn-r50.py"
model = dict(backbone=dict(type="ResNeXt", depth=101, groups=64, base_width=4))
