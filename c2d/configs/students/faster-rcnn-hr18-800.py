"""Faster R-CNN on a ResNet18 with half of the channels, FPN 128, at 1333x800: the KITTI row's student of half capacity.

Every channel count of faster-rcnn-r18-800 is halved, also in the RPN and in the box head (ours: of what the paper's
student has half is unverified). No published weights fit; train it with `init: none`, which freezes nothing.
"""

_base_ = "./faster-rcnn-r18-800.py"
model = dict(
    backbone=dict(base_channels=32),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=128),
    rpn_head=dict(in_channels=128, feat_channels=128),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=128),
        bbox_head=dict(in_channels=128, fc_out_channels=512),
    ),
)
