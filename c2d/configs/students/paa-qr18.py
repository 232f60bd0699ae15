"""PAA on a ResNet18 with a quarter of the channels, FPN 64, at 160 px, from scratch (a mixture separates positives).

Four levels and anchors of half the stock size, as in gfl-qr18 (ours).
"""

_base_ = "mmdet::paa/paa_r50_fpn_1x_coco.py"
input_size = 160
model = dict(
    backbone=dict(depth=18, base_channels=16, frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=64, num_outs=4, norm_cfg=dict(type="BN", requires_grad=True)),
    bbox_head=dict(
        in_channels=64, feat_channels=64, anchor_generator=dict(octave_base_scale=4, strides=[8, 16, 32, 64])
    ),
)
