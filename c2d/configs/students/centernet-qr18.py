"""CenterNet (the update of CenterNet2) on a ResNet18 with a quarter of the channels, FPN 64, at 160 px, from scratch.

Departures from the stock file (ours): four levels, regression ranges of half the stock size, RGB normalisation and one
size, as for the other small students. In mmdet an image without boxes weighs (C - 1)^4 in the class loss in place of 1,
because its heat map is filled with the number C of classes: keep such images out of the training.
"""

_base_ = "mmdet::centernet/centernet-update_r50-caffe_fpn_ms-1x_coco.py"
input_size = 160
model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True, pad_size_divisor=32
    ),
    backbone=dict(
        depth=18,
        base_channels=16,
        frozen_stages=-1,
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=False,
        style="pytorch",
        init_cfg=None,
    ),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=64, num_outs=4, norm_cfg=dict(type="BN", requires_grad=True)),
    bbox_head=dict(
        in_channels=64,
        feat_channels=64,
        strides=[8, 16, 32, 64],
        regress_ranges=((0, 40), (32, 80), (64, 160), (128, 1e8)),
    ),
)
train_pipeline = [
    dict(type="LoadImageFromFile", backend_args=None),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=(160, 160), keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile", backend_args=None),
    dict(type="Resize", scale=(160, 160), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
