"""The comparison with Vision Transformers: their compute in the NFNets' unit, and who leads at matched compute.

:mod:`~paper.vits.conversion` turns TPU-v3 into TPU-v4 core hours, one accounting at a time; :mod:`~paper.vits.runs` has
both families on the same axes; :mod:`~paper.vits.advantage` compares runs, :mod:`~paper.vits.frontiers` fitted
frontiers and what they hang on, :mod:`~paper.vits.inference` the cost of an evaluated image. They may import the fits
and what those may import.
"""
