"""Faster R-CNN on a ResNet18 with half of the channels, FPN 64, at 160 px, from scratch: half of faster-rcnn-r18.

Ours: every channel count of faster-rcnn-r18 is halved, also in the RPN and in the box head.
"""

_base_ = "./faster-rcnn-r18.py"
model = dict(
    backbone=dict(base_channels=32),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(in_channels=64, fc_out_channels=256),
    ),
)
