"""analysis: numbers, tables and plots of finished runs. It needs no torch and no mmdet.

`c2d.metrics.coco` and `c2d.metrics.tide` own the detection numbers, `c2d.metrics.classification` those of a classifier;
`c2d.metrics.engine_parity` checks that two engines agree on given files.
"""
