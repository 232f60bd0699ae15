"""Faster R-CNN on a ResNet18 with an eighth of the channels, FPN 32, at 160 px, from scratch: half of faster-rcnn-qr18.

Ours: every channel count of faster-rcnn-qr18 is halved, also in RPN and box head. Anchors, levels and samples
are the same, so it compares with a qr18 teacher anchor by anchor.
"""

_base_ = "./faster-rcnn-qr18.py"
model = dict(
    backbone=dict(base_channels=8),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=32),
    rpn_head=dict(in_channels=32, feat_channels=32),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=32),
        bbox_head=dict(in_channels=32, fc_out_channels=128),
    ),
)
