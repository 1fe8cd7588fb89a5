"""Where a logged number comes from: the data package's description and its files, read with every cell checked.

:mod:`~paper.provenance.description` reads ``datapackage.json``, which gives each file's source, units, uncertainty and
hash; :mod:`~paper.provenance.resources` reads the CSV files by it. They know no result by name and import nothing of
``paper``.
"""

from pathlib import Path

DATA = Path(__file__).parents[1] / "data"
"""The data package that ships with the code."""
