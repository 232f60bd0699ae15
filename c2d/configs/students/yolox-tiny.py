"""YOLOX-tiny at mmdet's stock settings: trained at 640 px with batches of 320-640 px, tested at 416 px.

Its stock config has the two parts of the training pipeline apart, and closes the mixing of images by a hook; here both
pipelines are written out.
"""

_base_ = "mmdet::yolox/yolox_tiny_8xb8-300e_coco.py"
input_size = 416
_load = [dict(type="LoadImageFromFile", backend_args=None), dict(type="LoadAnnotations", with_bbox=True)]
_mix = [
    dict(type="Mosaic", img_scale=(640, 640), pad_val=114.0),
    dict(type="RandomAffine", scaling_ratio_range=(0.5, 1.5), border=(-320, -320)),
]
_end = [
    dict(type="YOLOXHSVRandomAug"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="Resize", scale=(640, 640), keep_ratio=True),
    dict(type="Pad", pad_to_square=True, pad_val=dict(img=(114.0, 114.0, 114.0))),
    dict(type="FilterAnnotations", min_gt_bbox_wh=(1, 1), keep_empty=False),
    dict(type="PackDetInputs"),
]
train_pipeline = [*_load, *_mix, *_end]
closing_pipeline = [*_load, *_end]
closing_share = 16 / 300  # the hook of the stock config closes the last 16 of 300 epochs
