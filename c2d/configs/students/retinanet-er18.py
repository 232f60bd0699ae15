"""RetinaNet on a ResNet18 with an eighth of the channels, FPN 32, at 160 px, from scratch: half of retinanet-qr18.

Ours: every channel count of retinanet-qr18 is halved, also in the head, whose group norm keeps its 8 groups.
"""

_base_ = "./retinanet-qr18.py"
model = dict(
    backbone=dict(base_channels=8),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=32),
    bbox_head=dict(in_channels=32, feat_channels=32),
)
