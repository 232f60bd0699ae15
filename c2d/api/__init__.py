"""The Python interface of c2d: what `import c2d` offers. The commands call the same functions.

In: specs, runs and images as a user has them. Out: `Run` and `Student`. The files import torch and mmdet inside
functions only, because every module of the packages loads this folder with `c2d`.
"""
