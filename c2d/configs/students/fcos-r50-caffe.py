"""FCOS on a caffe-style ResNet50 with FPN 256: the student of the published tables (38.5 AP), short side 640 or 800.

mmdet's stock model and recipe: images in BGR with the mean subtracted only. Its ImageNet weights are detectron's
(resnet50_caffe), which no source of `init` has; give your own file, and see fcos-r50 for torchvision's weights.
"""

_base_ = "mmdet::fcos/fcos_r50-caffe_fpn_gn-head_ms-640-800-2x_coco.py"
input_size = (1333, 800)
