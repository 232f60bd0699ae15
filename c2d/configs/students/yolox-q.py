"""YOLOX with a quarter of the large model's channels, at 160 px, from scratch (SimOTA, an objectness apart).

Departures from yolox-tiny (ours): two thirds of its channels, batch norm with torch's default eps and momentum (short
runs need faster statistics), one size, and flip and resize as the only augmentation, as for the other small students.
As in mmdet, images are neither centred nor scaled. The L1 term of mmdet's last epochs is off.
"""

_base_ = "mmdet::yolox/yolox_tiny_8xb8-300e_coco.py"
_norm_ = dict(type="BN", eps=1e-5, momentum=0.1)
input_size = 160
model = dict(
    data_preprocessor=dict(batch_augments=None),
    backbone=dict(widen_factor=0.25, norm_cfg=_norm_),
    neck=dict(in_channels=[64, 128, 256], out_channels=64, norm_cfg=_norm_),
    bbox_head=dict(in_channels=64, feat_channels=64, norm_cfg=_norm_),
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
