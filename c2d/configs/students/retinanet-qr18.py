"""RetinaNet on a ResNet18 with every channel count divided by 4: about 1.3 M parameters, for a CPU and 160 px.

Departures from the stock RetinaNet (ours): trained from scratch, so batch norm is trainable everywhere, also in the
FPN, and the head has group norm; levels P3-P6 only (at 160 px P7 is 2x2 cells); anchors start at 2 strides, so they
span 16-203 px.
"""

_base_ = ["mmdet::_base_/models/retinanet_r50_fpn.py", "mmdet::_base_/datasets/coco_detection.py"]
input_size = 160
model = dict(
    backbone=dict(
        depth=18,
        base_channels=16,
        frozen_stages=-1,
        norm_eval=False,
        init_cfg=None,
    ),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=64, num_outs=4, norm_cfg=dict(type="BN", requires_grad=True)),
    bbox_head=dict(
        in_channels=64,
        feat_channels=64,
        norm_cfg=dict(type="GN", num_groups=8, requires_grad=True),
        anchor_generator=dict(octave_base_scale=2, strides=[8, 16, 32, 64]),
    ),
)
