"""GFL on ResNet34 with FPN 256 at 1333x800: LD's middle student. mmdet's stock model of GFL on another backbone."""

_base_ = "./gfl-r50.py"
model = dict(backbone=dict(depth=34), neck=dict(in_channels=[64, 128, 256, 512]))
