"""Deformable DETR on ResNet50 at 1333x800: mmdet's stock model and recipe, 300 queries, one stage, no refinement."""

_base_ = ["mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py"]
input_size = (1333, 800)
