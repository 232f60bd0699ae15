"""FCOS on a caffe-style ResNet101 with FPN 256: the teacher of the published tables (40.8 AP), short side 640 or 800.

mmdet's stock model and recipe: images in BGR with the mean subtracted only. Its ImageNet weights are detectron's
(resnet101_caffe), which no source of `init` has; take the whole detector of mmdet's model zoo, or give your own file.
"""

_base_ = "mmdet::fcos/fcos_r101-caffe_fpn_gn-head_ms-640-800-2x_coco.py"
input_size = (1333, 800)
