"""Faster R-CNN on ResNet50 with FPN 256 (the paper trains it for 2x): mmdet's stock model and recipe at 1333x800.

The paper gives the length alone; learning rate and what is frozen are mmdet's (unverified). Weights:
torchvision:resnet50.IMAGENET1K_V1.
"""

_base_ = ["mmdet::_base_/models/faster-rcnn_r50_fpn.py", "mmdet::_base_/datasets/coco_detection.py"]
input_size = (1333, 800)
