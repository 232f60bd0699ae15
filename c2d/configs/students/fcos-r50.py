"""FCOS on ResNet50 with FPN 256 at 1333x800: mmdet's improved head (centre sampling, centreness with regression, GIoU).

The stock 1x file starts from caffe weights, with their mean and channel order; this one takes the pytorch-style
ResNet and its mean and std, as mmdet's own 8xb8-amp-lsj file does, without that file's large-scale jitter and fixed-
size padding.
"""

_base_ = [
    "mmdet::fcos/fcos_r50_fpn_gn-head-center-normbbox-centeronreg-giou_8xb8-amp-lsj-200e_coco.py",
]
input_size = (1333, 800)
model = dict(data_preprocessor=dict(batch_augments=None))
train_pipeline = [
    dict(type="LoadImageFromFile", backend_args=None),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=(1333, 800), keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile", backend_args=None),
    dict(type="Resize", scale=(1333, 800), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
