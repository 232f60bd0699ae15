"""FCOS on a ResNet18 with a quarter of the channels, FPN 64, at 160 px, from scratch (the small point head).

Head as in fcos-r50; regression ranges are half of the stock ones and there are four levels (P3-P6), because the objects
are 12-120 px (ours).
"""

_base_ = "./fcos-r50.py"
input_size = 160
model = dict(
    backbone=dict(depth=18, base_channels=16, frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=64, num_outs=4, norm_cfg=dict(type="BN", requires_grad=True)),
    bbox_head=dict(
        in_channels=64,
        feat_channels=64,
        strides=[8, 16, 32, 64],
        regress_ranges=((-1, 32), (32, 64), (64, 128), (128, 1e8)),
    ),
)
