"""Faster R-CNN on MobileNetV2 with FPN 256: the paper's mobile student at 1333x800.

The paper does not say which blocks feed the FPN or what is frozen; ours: the last block at stride 4, 8, 16 and 32
(24, 32, 96, 320 channels), batch norm statistics and the first block frozen as in the ResNet students. Schedule 1x;
its learning rate is unverified here. Weights: torchvision:mobilenet_v2.IMAGENET1K_V1.
"""

_base_ = "./faster-rcnn-r50.py"
model = dict(
    backbone=dict(
        _delete_=True,
        type="MobileNetV2",
        out_indices=(1, 2, 4, 6),
        frozen_stages=1,
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=True,
    ),
    neck=dict(in_channels=[24, 32, 96, 320]),
)
