"""What was claimed and logged: results with their sources, fits, claims and their checks, tables.

The data's way, each step importing those before it: ``data/`` is read by :mod:`paper.provenance` into
:mod:`paper.results`; :mod:`paper.family` adds the sizes and costs of the networks; :mod:`paper.fits`, :mod:`paper.vits`
and :mod:`paper.experiments` compute from them; :mod:`paper.study` holds all of it; :mod:`paper.checks` decide what
:mod:`paper.claims` states; :mod:`paper.tables` and the figures show it; :mod:`paper.tamper` asks whether a changed
digit would be noticed; :mod:`paper.fit` takes anybody's own runs the same way. :mod:`paper.keeping` remembers what was
computed once.
"""
