"""SSDLite on MobileNetV2 at 160 px, from scratch: mmdet's SSDLite with anchors for 12-120 px objects (ours).

Four of the six levels are kept (at 160 px they have 10, 5, 3 and 2 cells a side; batch norm cannot learn from the
single cell of a further one). Batch norm has torch's default eps and momentum instead of 1e-3 and 0.03: short runs
need faster statistics, and torchvision:mobilenet_v2.IMAGENET1K_V1 then gives the same features here as there. The
augmentation is flip and resize, as for the other small students.
"""

_base_ = "mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py"
_norm_ = dict(type="BN", eps=1e-5, momentum=0.1)
input_size = 160
model = dict(
    backbone=dict(norm_cfg=_norm_),
    neck=dict(norm_cfg=_norm_, out_channels=(96, 1280, 512, 256), level_strides=(2, 2), level_paddings=(1, 1)),
    bbox_head=dict(
        in_channels=(96, 1280, 512, 256),
        norm_cfg=_norm_,
        anchor_generator=dict(
            strides=[16, 32, 53, 80],
            ratios=[[2, 3], [2, 3], [2, 3], [2, 3]],
            min_sizes=[16, 40, 72, 104],
            max_sizes=[40, 72, 104, 136],
        ),
    ),
)
train_pipeline = [
    dict(type="LoadImageFromFile", backend_args=None),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=(160, 160), keep_ratio=False),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile", backend_args=None),
    dict(type="Resize", scale=(160, 160), keep_ratio=False),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
