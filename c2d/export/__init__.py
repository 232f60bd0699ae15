"""A finished run as files for others: a folder that needs no c2d, in the layout of the Hugging Face hub.

In: a run folder with its exported weights, and its data set for the comparison. Out: one new folder with the stock
config and weights, a model card, provenance, and where asked an ONNX file and an OpenVINO model that take an image as
it is and return its detections. Every graph is compared with the stock student on real images before the folder gets
its name.
"""
