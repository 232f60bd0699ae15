"""RetinaNet on a full ResNet18 with a 128-channel FPN, at 160 px: the small sweeps' detector teacher and big student.

Same departures from stock as retinanet-qr18. torchvision:resnet18.IMAGENET1K_V1 fits; without it, it trains from
scratch.
"""

_base_ = "./retinanet-qr18.py"
model = dict(
    backbone=dict(base_channels=64),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=128),
    bbox_head=dict(in_channels=128, feat_channels=128),
)
