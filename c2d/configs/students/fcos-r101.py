"""FCOS on ResNet101 with FPN 256 at 1333x800: fcos-r50, with its improved head, on a deeper network.

The FCOS R101 of the published tables (40.8 AP) is fcos-r101-caffe.
"""

_base_ = "./fcos-r50.py"
model = dict(backbone=dict(depth=101))
