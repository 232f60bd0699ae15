"""YOLOF on a ResNet18 with a quarter of the channels, at 160 px, from scratch (one level, uniform matching).

Departures from the stock YOLOF (ours): the last stage is dilated, so that the one map has stride 16 and 10 cells a
side; anchors of 16-128 px; the encoder's dilations are half of the stock ones; RGB normalisation as for the other
small students; no random shift, which is 32 px in the stock file.
"""

_base_ = "mmdet::yolof/yolof_r50-c5_8xb8-1x_coco.py"
input_size = 160
model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True, pad_size_divisor=32
    ),
    backbone=dict(
        depth=18,
        base_channels=16,
        strides=(1, 2, 2, 1),
        dilations=(1, 1, 1, 2),
        frozen_stages=-1,
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=False,
        style="pytorch",
        init_cfg=None,
    ),
    neck=dict(in_channels=128, out_channels=64, block_mid_channels=32, block_dilations=[1, 2, 3, 4]),
    bbox_head=dict(
        in_channels=64,
        anchor_generator=dict(scales=[1, 2, 4, 8], strides=[16]),
        bbox_coder=dict(ctr_clamp=16),
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
