"""analysis: from finished runs to numbers, tables and plots. No torch, no mmdet, nothing of the other rooms.

`c2d.metrics.coco` and `c2d.metrics.tide` own the detection numbers, `c2d.metrics.classification` those of a classifier;
`c2d.metrics.engine_parity` asks two engines whether they agree on given files.
"""
