"""Faster R-CNN on ResNet18 with FPN 256 at 1333x800: the teacher, and the student of equal capacity, of the KITTI row.

"Beyond Classification: Knowledge Distillation using Multi-Object Impressions" (BMVC 2021) names a ResNet-18 for KITTI;
neck, head and image size are those of faster-rcnn-r50 here, the paper's are unverified. KITTI's 1242x375 images become
1333x402. torchvision:resnet18.IMAGENET1K_V1 fits. faster-rcnn-r18 is the small one at 160 px.
"""

_base_ = "./faster-rcnn-r50.py"
model = dict(backbone=dict(depth=18), neck=dict(in_channels=[64, 128, 256, 512]))
