"""What is fitted to the logged runs, each number with its bootstrap interval.

:mod:`~paper.fits.fitting` holds the batched least squares that most share; :mod:`~paper.fits.laws`,
:mod:`~paper.fits.curves`, :mod:`~paper.fits.surface` and :mod:`~paper.fits.optimum` each fit one form to plain arrays,
:mod:`~paper.fits.forms` several that restrict each other;
:mod:`~paper.fits.scaling` applies them to the NFNets' runs, and :mod:`~paper.fits.learning_rate` searches learning
rates. They may import the results, the sizes of the networks and what keeps results.
"""
