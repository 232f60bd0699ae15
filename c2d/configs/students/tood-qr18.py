"""TOOD on a ResNet18 with a quarter of the channels, FPN 64, at 160 px, from scratch (task-aligned assignment).

Four levels and anchors of half the stock size, as in gfl-qr18 (ours). The first four passes over the images assign as
ATSS does, as in the stock file.
"""

_base_ = "mmdet::tood/tood_r50_fpn_1x_coco.py"
input_size = 160
model = dict(
    backbone=dict(depth=18, base_channels=16, frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=64, num_outs=4, norm_cfg=dict(type="BN", requires_grad=True)),
    bbox_head=dict(
        in_channels=64, feat_channels=64, anchor_generator=dict(octave_base_scale=4, strides=[8, 16, 32, 64])
    ),
)
