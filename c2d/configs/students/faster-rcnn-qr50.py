"""Faster R-CNN on QR50, a ResNet50 with a quarter of every channel count (64 -> 16), FPN 256: the paper's small one.

The paper's QR50 has ImageNet weights (top-1 66.33 %) that are not published. Train them as a run: `init: backbone` with
`teachers: {backbone: {network: "student:faster-rcnn-qr50", dataset: imagenet, schedule: imagenet}}` in a sweep; or give
your own with `init: <file>`, or train from scratch with `init: none` (nothing is frozen then). Schedule 1x; learning
rate, frozen stages and batch norm of the paper's training are unverified: they are mmdet's of ResNet50.
"""

_base_ = "./faster-rcnn-r50.py"
model = dict(backbone=dict(base_channels=16), neck=dict(in_channels=[64, 128, 256, 512]))
