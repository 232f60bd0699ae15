"""RTMDet with a quarter of the large model's channels, one block a stage, at 160 px, from scratch (soft labels).

Departures from rtmdet-tiny (ours): two thirds of its channels, batch norm in place of SyncBN, and flip and resize as
the only augmentation, as for the other small students. Levels P3-P5 and the assigner are the stock ones.
"""

_base_ = "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py"
_norm_ = dict(type="BN")
input_size = 160
model = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    backbone=dict(widen_factor=0.25, norm_cfg=_norm_, init_cfg=None),
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
