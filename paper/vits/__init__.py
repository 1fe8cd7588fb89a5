"""The comparison with Vision Transformers: their compute in the NFNets' unit, and who leads at matched compute.

:mod:`~paper.vits.conversion` turns TPU-v3 into TPU-v4 core hours; :mod:`~paper.vits.advantage` compares. They may
import the fits and what those may import.
"""
