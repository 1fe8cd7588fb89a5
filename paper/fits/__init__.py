"""What is fitted to runs, each number with its bootstrap interval: one way for the paper's runs and for anybody's.

:mod:`~paper.fits.runs` says what runs are and :mod:`~paper.fits.fitting` holds the batched least squares that most
share. :mod:`~paper.fits.laws`, :mod:`~paper.fits.curves`, :mod:`~paper.fits.surface` and :mod:`~paper.fits.optimum`
each fit one form, :mod:`~paper.fits.forms` several that restrict each other, :mod:`~paper.fits.repeated` what repeated
data are worth. :mod:`~paper.fits.allocation` simulates what the routes to the optimum are worth,
:mod:`~paper.fits.regret` prices a rule of thumb, :mod:`~paper.fits.held_out` predicts dearer runs from cheaper ones.
:mod:`~paper.fits.analysis` applies all of them to one set of runs: :mod:`~paper.fits.scaling` to the NFNets',
:mod:`~paper.fits.own` to own ones. :mod:`~paper.fits.learning_rate` searches learning rates. They may import the
results, the sizes of the networks and what keeps results.
"""
