"""Faster R-CNN on a ResNet18 with a quarter of the channels, FPN 64, at 160 px, from scratch (the small RoI head).

Ours: four pyramid levels, anchors and the RoI level rule at half the stock size, a 256-wide head, fewer proposals and
128 sampled RoIs an image instead of 512, because the images are 25 times smaller than COCO's at 1333x800.
"""

_base_ = ["mmdet::_base_/models/faster-rcnn_r50_fpn.py", "mmdet::_base_/datasets/coco_detection.py"]
input_size = 160
model = dict(
    backbone=dict(depth=18, base_channels=16, frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=64, num_outs=4, norm_cfg=dict(type="BN", requires_grad=True)),
    rpn_head=dict(in_channels=64, feat_channels=64, anchor_generator=dict(scales=[4], strides=[4, 8, 16, 32])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64, finest_scale=28),
        bbox_head=dict(in_channels=64, fc_out_channels=256),
    ),
    train_cfg=dict(rpn_proposal=dict(nms_pre=500, max_per_img=256), rcnn=dict(sampler=dict(num=128))),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=256)),
)
