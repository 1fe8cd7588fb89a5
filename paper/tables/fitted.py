"""What is fitted to the logged runs, as :mod:`paper.tables.analysed` shows it for any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paper.tables import analysed
from paper.tables.table import Table

if TYPE_CHECKING:
    from paper.study import Study

__all__ = [
    "allocation",
    "fits",
    "frontier_laws",
    "held_out",
    "irreducible",
    "regret",
    "repeated_data",
    "surface_forms",
]


def fits(study: Study) -> Table:
    """Every fitted number with its 95% interval."""
    f = study.fits
    found = analysed.entries("loss", f.loss) + analysed.entries("error", f.error, surfaces=False)
    for saturating, name in (
        (study.matched.nfnet_law("flops"), "error on the frontier, E + A C^-a, C in FLOPs"),
        (study.matched.vit_law(), "error of Zhai et al.'s sweep, E + A C^-a, C in TPU-v3 core hours"),
        (study.matched.vit_law("flops"), "error of Zhai et al.'s sweep, E + A C^-a, C in FLOPs"),
    ):
        found += [
            (name, "E", saturating.irreducible),
            (name, "A", saturating.coefficient),
            (name, "a", saturating.exponent),
        ]
    return analysed.numbers(
        "fits",
        f"Fitted numbers with 95% intervals of {f.resamples:,} bootstrap resamples (seed {f.seed}; at most 1,000 for "
        "surfaces). Resamples find frontiers anew. C in TPU-v4 core hours where nothing else is said, N in "
        "parameters, D in images seen.",
        found,
    )


def frontier_laws(study: Study) -> Table:
    """Laws of both frontiers by each way to resample."""
    return analysed.frontier_laws({"loss": study.fits.loss, "error": study.fits.error})


def surface_forms(study: Study) -> Table:
    """Forms of the loss surface, each against the general one."""
    return analysed.forms(study.fits.loss)


def irreducible(study: Study) -> Table:
    """How the irreducible loss hangs on the form of the surface."""
    return analysed.irreducible(study.fits.loss)


def allocation(study: Study) -> Table:
    """What each route to the optimum says of equal rates, and what it is worth."""
    return analysed.allocation(study.fits.loss)


def regret(study: Study) -> Table:
    """What the rule of equal rates costs."""
    return analysed.regret(study.fits.loss)


def held_out(study: Study) -> Table:
    """The dearer runs of both figures predicted from the cheaper ones."""
    return analysed.held_out({"loss": study.fits.loss, "error": study.fits.error})


def repeated_data(study: Study) -> Table:
    """What repeated data are worth in the loss surface."""
    return analysed.repeated_data(study.fits.loss)
