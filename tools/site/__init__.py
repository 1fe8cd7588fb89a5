"""The site: pages written from the claims, the data package, the figures and the code, then built by Sphinx.

``python -m tools.site`` writes pages into build/site-source (:mod:`tools.site.sources` names who writes which), and
Sphinx makes build/site of them with docs/conf.py. A number on a page comes from the code or from a data file.
"""
