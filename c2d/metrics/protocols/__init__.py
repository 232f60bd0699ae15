"""Numbers of evaluation protocols beside COCO's: Pascal VOC and KITTI 2D.

In: annotations whose key `protocol` has what the protocol reads, and the checked arrays of `c2d.metrics.coco_data`.
Out: plain dicts that JSON can hold. A number without objects is None, never 0. Needs no torch.
"""
