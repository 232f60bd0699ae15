"""RetinaNet on ResNet50 with FPN 256 (the paper trains it for 2x): mmdet's stock model and recipe at 1333x800."""

_base_ = ["mmdet::_base_/models/retinanet_r50_fpn.py", "mmdet::_base_/datasets/coco_detection.py"]
input_size = (1333, 800)
