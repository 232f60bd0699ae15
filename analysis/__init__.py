"""analysis: from finished runs to numbers, tables and plots. No torch, no mmdet, nothing of the other rooms.

`analysis.coco` and `analysis.tide` own the detection numbers, `analysis.classification` those of a classifier;
`analysis.parity` asks two engines whether they agree on given files.
"""
