"""VFNet on a ResNet18 with a quarter of the channels, FPN 64, at 160 px, from scratch (refined boxes).

Four levels, anchors and regression ranges of half the stock size, as in gfl-qr18 and fcos-qr18 (ours). mmdet's loss
of VFNet does not run under amp.
"""

_base_ = "mmdet::vfnet/vfnet_r50_fpn_1x_coco.py"
input_size = 160
model = dict(
    backbone=dict(depth=18, base_channels=16, frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=64, num_outs=4, norm_cfg=dict(type="BN", requires_grad=True)),
    bbox_head=dict(
        in_channels=64,
        feat_channels=64,
        strides=[8, 16, 32, 64],
        regress_ranges=((-1, 32), (32, 64), (64, 128), (128, 1e8)),
        anchor_generator=dict(
            type="AnchorGenerator",
            ratios=[1.0],
            octave_base_scale=4,
            scales_per_octave=1,
            center_offset=0.0,
            strides=[8, 16, 32, 64],
        ),
    ),
)
