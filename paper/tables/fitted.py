"""Every fitted number, and the forms of the loss surface against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paper.tables.table import Table

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["fits", "surface_forms"]


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


def surface_forms(study: Study) -> Table:
    """Forms of the loss surface, each against the general one."""
    import pandas as pd

    f = study.fits
    rows = []
    for form in f.surface_forms.values():
        size, epochs = form.exponents(f.cost.slope)
        rows.append(
            {
                "form": form.name,
                "free": form.free,
                "squares": form.squares,
                "rms_percent": form.rms_percent,
                "irreducible": form.values["E"],
                "irreducible_error": form.irreducible_error,
                "alpha": form.values["alpha"],
                "beta": form.values["beta"],
                "gamma": form.values["gamma"],
                "size_exponent": size,
                "epochs_exponent": epochs,
                "ratio": form.ratio,
                "p_value": form.p_value,
            }
        )
    return Table(
        "surface_forms",
        f"Forms of the loss surface over the {len(f.pretraining)} pre-trained runs, fitted by least squares on log "
        "residuals. General: E + (A/N^alpha + B/D^beta)^gamma; additive: gamma = 1; equal rates: alpha = beta. The "
        "ratio is n log(squares / squares of the general form), p its chance if the restriction held.",
        pd.DataFrame(rows),
        {
            "form": "Form",
            "free": "Parameters",
            "squares": "Sum of squares",
            "rms_percent": "RMS, %",
            "irreducible": "E, nats",
            "irreducible_error": "standard error of E, nats",
            "alpha": "alpha",
            "beta": "beta",
            "gamma": "gamma",
            "size_exponent": "Exponent of size",
            "epochs_exponent": "Exponent of epochs",
            "ratio": "Likelihood ratio",
            "p_value": "p",
        },
        {
            "squares": ".6f",
            "rms_percent": ".2f",
            **dict.fromkeys(("irreducible", "irreducible_error", "size_exponent", "epochs_exponent"), ".2f"),
            **dict.fromkeys(("alpha", "beta", "gamma"), ".3f"),
            "ratio": ".1f",
            "p_value": ".2g",
        },
    )
