"""Every fitted number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paper.tables.table import Table

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["fits"]


def fits(study: Study) -> Table:
    """Every fitted number with its 95% interval."""
    import pandas as pd

    from paper.fits.fitting import Estimate

    f = study.fits
    entries: list[tuple[str, str, Estimate]] = []
    for law, name in ((f.loss_law, "loss on the frontier, A C^-a"), (f.error_law, "error on the frontier, A C^-a")):
        entries += [(name, "A", law.coefficient), (name, "a", law.exponent)]
    entries.append(("loss, whole runs resampled", "a", f.loss_law_all_resampled))
    for saturating, name in (
        (f.loss_law_saturating, "loss on the frontier, E + A C^-a"),
        (f.error_law_saturating, "error on the frontier, E + A C^-a"),
        (study.matched.nfnet_law("flops"), "error on the frontier, E + A C^-a, C in FLOPs"),
        (study.matched.vit_law(), "error of Zhai et al.'s sweep, E + A C^-a, C in TPU-v3 core hours"),
        (study.matched.vit_law("flops"), "error of Zhai et al.'s sweep, E + A C^-a, C in FLOPs"),
    ):
        entries += [
            (name, "E", saturating.irreducible),
            (name, "A", saturating.coefficient),
            (name, "a", saturating.exponent),
        ]
    s = f.surface
    surface = "loss surface, E + A/N^alpha + B/D^beta"
    entries += [
        (surface, "E", s.irreducible),
        (surface, "A", s.size_coefficient),
        (surface, "alpha", s.size_exponent),
        (surface, "B", s.data_coefficient),
        (surface, "beta", s.data_exponent),
    ]
    for route, of in [*((route, "loss") for route in f.optima), (f.error_optimum_by_profiles, "error")]:
        name = f"compute-optimal by {route.method}, {of}"
        entries += [
            (name, "exponent of size", route.size_exponent),
            (name, "exponent of epochs", route.epochs_exponent),
            (name, "size less epochs", route.difference),
            (name, "compute at one epoch", route.one_epoch),
        ]
    rows = [
        {"fit": fit, "quantity": quantity, "value": e.value, "low": e.low, "high": e.high, "unit": e.unit}
        for fit, quantity, e in entries
    ]
    return Table(
        "fits",
        f"Fitted numbers with 95% intervals of {f.resamples:,} bootstrap resamples (seed {f.seed}). "
        "C in TPU-v4 core hours where nothing else is said, N in parameters, D in images seen.",
        pd.DataFrame(rows),
        {"fit": "Fit", "quantity": "Quantity", "value": "Value", "low": "Low", "high": "High", "unit": "Unit"},
        {"value": ".4g", "low": ".4g", "high": ".4g"},
    )
