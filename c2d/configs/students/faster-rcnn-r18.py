"""Faster R-CNN on a full ResNet18 with a 128-channel FPN, at 160 px: a detector teacher for faster-rcnn-qr18."""

_base_ = "./faster-rcnn-qr18.py"
model = dict(
    backbone=dict(base_channels=64),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=128),
    rpn_head=dict(in_channels=128, feat_channels=128),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=128),
        bbox_head=dict(in_channels=128, fc_out_channels=512),
    ),
)
