"""GFL on a full ResNet18 with a 128-channel FPN, at 160 px: a teacher for gfl-qr18, whose head layout it has."""

_base_ = "./gfl-qr18.py"
model = dict(
    backbone=dict(base_channels=64),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=128),
    bbox_head=dict(in_channels=128, feat_channels=128),
)
