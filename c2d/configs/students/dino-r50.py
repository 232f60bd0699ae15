"""DINO with 4 scales on ResNet50 at 1333x800: mmdet's stock model and recipe, 900 queries."""

_base_ = ["mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py"]
input_size = (1333, 800)
