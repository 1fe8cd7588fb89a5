"""Measurements on real networks that take seconds: signal propagation at initialisation, and gradient clipping.

:mod:`~paper.experiments.networks` says how they are initialised and compiled. They need no logged result, and import
``nfnet`` and what keeps results.
"""
