"""Tables of what is fitted to runs: the same for the paper's figures and for anybody's own runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from paper.tables.table import Table

if TYPE_CHECKING:
    from paper.fits.analysis import Analysis
    from paper.fits.fitting import Estimate
    from paper.fits.surface import Surface

__all__ = [
    "Entry",
    "allocation",
    "entries",
    "forms",
    "frontier_laws",
    "held_out",
    "irreducible",
    "numbers",
    "regret",
    "repeated_data",
]

Entry = tuple[str, str, "Estimate"]
"""What was fitted, which of its numbers, and the number."""
_TRUTHS = {"equal rates": "equal", "as fitted": "fitted"}


def _compute(value: float) -> str:
    return f"{value:,.0f}" if 100 <= value < 1e9 else f"{value:.3g}"


def _growing(analysis: Analysis) -> str:
    return "examples" if np.isnan(analysis.runs.epoch) else "epochs"


def entries(quantity: str, analysis: Analysis, *, surfaces: bool = True) -> list[Entry]:
    """Every fitted number of one quantity with its main interval."""
    found: list[Entry] = []
    if analysis.has_law:
        law, saturating = analysis.law, analysis.saturating
        name = f"{quantity} on the frontier, A C^-a"
        found += [(name, "A", law.coefficient), (name, "a", law.exponent)]
        name = f"{quantity} on the frontier, E + A C^-a"
        found += [
            (name, "E", saturating.irreducible),
            (name, "A", saturating.coefficient),
            (name, "a", saturating.exponent),
        ]
    if surfaces and analysis.has_surface:
        found += _surface_entries(f"{quantity} surface, E + A/N^alpha + B/D^beta, Huber", analysis.surface)
        if analysis.has_general:
            found += _surface_entries(f"{quantity} surface, E + (A/N^alpha + B/D^beta)^gamma", analysis.general)
    growing = _growing(analysis)
    nowhere = not analysis.has_surface or (surfaces and analysis.has_general and not analysis.has_optimum)
    optima = {} if nowhere else analysis.optima if surfaces else analysis.run_optima
    for route in optima.values():
        name = f"compute-optimal by {route.method}, {quantity}"
        found += [
            (name, "exponent of size", route.size_exponent),
            (name, f"exponent of {growing}", route.epochs_exponent),
            (name, f"size less {growing}", route.difference),
        ]
        if growing == "epochs":
            found.append((name, "compute at one epoch", route.one_epoch))
    return found


def _surface_entries(name: str, surface: Surface) -> list[Entry]:
    found = [
        (name, "E", surface.irreducible),
        (name, "A", surface.size_coefficient),
        (name, "alpha", surface.size_exponent),
        (name, "B", surface.data_coefficient),
        (name, "beta", surface.data_exponent),
    ]
    return found + ([] if surface.form == "additive" else [(name, "gamma", surface.outer_exponent)])


def numbers(name: str, caption: str, found: Iterable[Entry]) -> Table:
    """Fitted numbers, one a row."""
    import pandas as pd

    rows = [
        {"fit": fit, "quantity": quantity, "value": e.value, "low": e.low, "high": e.high, "unit": e.unit}
        for fit, quantity, e in found
    ]
    return Table(
        name,
        caption,
        pd.DataFrame(rows),
        {"fit": "Fit", "quantity": "Quantity", "value": "Value", "low": "Low", "high": "High", "unit": "Unit"},
        {"value": ".4g", "low": ".4g", "high": ".4g"},
    )


def frontier_laws(analyses: Mapping[str, Analysis]) -> Table:
    """Laws of the frontier with the interval of each way to resample."""
    import pandas as pd

    rows = []
    for quantity, analysis in analyses.items():
        for resampled, law, saturating in (
            ("runs, frontier found anew", analysis.law, analysis.saturating),
            ("models, frontier found anew", analysis.law_clustered, analysis.saturating_clustered),
            ("points of the frontier as logged", analysis.law_fixed, analysis.saturating_fixed),
        ):
            for form, fitted in (("A C^-a", law), ("E + A C^-a", saturating)):
                a = fitted.exponent
                e = saturating.irreducible if fitted is saturating else None
                rows.append(
                    {
                        "quantity": quantity,
                        "law": form,
                        "resampled": resampled,
                        "exponent": a.value,
                        "low": a.low,
                        "high": a.high,
                        "irreducible": e.value if e else np.nan,
                        "irreducible_low": e.low if e else np.nan,
                        "irreducible_high": e.high if e else np.nan,
                    }
                )
    order = pd.DataFrame(rows).sort_values(["quantity", "law"], kind="stable", ignore_index=True)
    return Table(
        "frontier_laws",
        "Laws of the compute frontier, with 95% intervals by what a resample draws. The main interval everywhere else "
        "is that of whole runs, whose frontier is found anew in each resample.",
        order,
        {
            "quantity": "Quantity",
            "law": "Law",
            "resampled": "Resampled",
            "exponent": "a",
            "low": "a, low",
            "high": "a, high",
            "irreducible": "E",
            "irreducible_low": "E, low",
            "irreducible_high": "E, high",
        },
        {
            **dict.fromkeys(("exponent", "low", "high"), ".4f"),
            **dict.fromkeys(("irreducible", "irreducible_low", "irreducible_high"), ".2f"),
        },
    )


def forms(analysis: Analysis) -> Table:
    """Forms of the surface, each against the general one, and what Huber's loss makes of two of them."""
    import pandas as pd

    growing = _growing(analysis)
    rows = []
    compared = [(form.surface, form.ratio, form.p_value) for form in analysis.forms.values()]
    for surface, ratio, p_value in [
        *compared,
        (analysis.general_huber, np.nan, np.nan),
        (analysis.surface, np.nan, np.nan),
    ]:
        size, epochs = surface.exponents(analysis.cost.slope)
        least = np.isinf(surface.delta)
        rows.append(
            {
                "form": surface.form,
                "loss": "squares" if least else f"Huber, {surface.delta:g}",
                "free": surface.free,
                "squares": surface.squares,
                "rms_percent": surface.rms_percent,
                "beyond_percent": 100 * surface.beyond,
                "irreducible": surface.irreducible.value,
                "irreducible_error": surface.irreducible_error if least else np.nan,
                "alpha": surface.size_exponent.value,
                "beta": surface.data_exponent.value,
                "gamma": surface.outer_exponent.value,
                "size_exponent": size,
                "epochs_exponent": epochs,
                "ratio": ratio,
                "p_value": p_value,
            }
        )
    unit = analysis.runs.value_unit
    return Table(
        "surface_forms",
        f"Forms of the loss surface over {len(analysis.runs)} runs, fitted to log residuals. "
        "General: E + (A/N^alpha + B/D^beta)^gamma; additive: gamma = 1; equal rates: alpha = beta. The "
        "ratio is n log(squares / squares of the general form), p its chance if the restriction held. Huber's loss, "
        "whose delta is that of the literature, turns linear for the residuals beyond delta: where these are most, it "
        "is nearly a sum of absolute residuals.",
        pd.DataFrame(rows),
        {
            "form": "Form",
            "loss": "Loss",
            "free": "Parameters",
            "squares": "Sum of squares",
            "rms_percent": "RMS, %",
            "beyond_percent": "Residuals beyond Huber's delta, %",
            "irreducible": f"E, {unit}",
            "irreducible_error": f"standard error of E, {unit}",
            "alpha": "alpha",
            "beta": "beta",
            "gamma": "gamma",
            "size_exponent": "Exponent of size",
            "epochs_exponent": f"Exponent of {growing}",
            "ratio": "Likelihood ratio",
            "p_value": "p",
        },
        {
            "squares": ".6f",
            "beyond_percent": ".0f",
            **dict.fromkeys(
                ("rms_percent", "irreducible", "irreducible_error", "size_exponent", "epochs_exponent"), ".2f"
            ),
            **dict.fromkeys(("alpha", "beta", "gamma"), ".3f"),
            "ratio": ".1f",
            "p_value": ".2g",
        },
    )


def irreducible(analysis: Analysis) -> Table:
    """How the irreducible loss hangs on the form: the general form at each of a range of outer exponents."""
    import pandas as pd

    profile = analysis.gamma_profile
    return Table(
        "irreducible",
        "Irreducible loss E of the general form E + (A/N^alpha + B/D^beta)^gamma where gamma is held; gamma = 1 is the "
        "additive form. The ratio is the likelihood-ratio statistic against the likeliest gamma.",
        pd.DataFrame(
            {
                "gamma": profile.held,
                "irreducible": profile.irreducible,
                "ratio": profile.ratio,
                "inside": ["yes" if one else "no" for one in profile.inside],
            }
        ),
        {
            "gamma": "gamma",
            "irreducible": f"E, {analysis.runs.value_unit}",
            "ratio": "Likelihood ratio",
            "inside": "In the 95% interval",
        },
        {"gamma": ".3f", "irreducible": ".2f", "ratio": ".1f"},
    )


def allocation(analysis: Analysis) -> Table:
    """Each route's difference of exponents, and what the route is worth in simulation."""
    import pandas as pd

    found, growing = analysis.allocation, _growing(analysis)
    rows = []
    for route in found.routes.values():
        row: dict[str, object] = {
            "route": route.method,
            "difference": route.difference.value,
            "low": route.difference.low,
            "high": route.difference.high,
        }
        for truth, short in _TRUTHS.items():
            row |= {
                f"bias_{short}": route.bias[truth],
                f"spread_{short}": route.spread[truth],
                f"coverage_{short}": 100 * route.coverage[truth],
            }
        rows.append(row | {"unbiased": "yes" if route.unbiased else "no"})
    headings = {"route": "Route", "difference": f"Size less {growing}", "low": "Low", "high": "High"}
    for truth, short in _TRUTHS.items():
        shown = f"{truth} ({found.truth[truth] + 0.0:.2f})"
        headings |= {
            f"bias_{short}": f"Bias, {shown}",
            f"spread_{short}": f"Spread, {shown}",
            f"coverage_{short}": f"Coverage, {shown}, %",
        }
    return Table(
        "allocation",
        f"Exponent of optimal size less that of {growing} by each route, with its 95% interval, and the route's bias, "
        f"spread and coverage over {found.simulations} data sets simulated on the same grid under each of two truths: "
        "the general surface restricted to equal rates, and as fitted. Surface is the additive one by least squares; "
        "intervals of surfaces are those of their covariance. Unbiased: a bias below half the spread under "
        f"both. The most precise such route is {found.deciding.method}. The likelihood ratio of equal rates is "
        f"{found.ratio:.1f}; of the data sets simulated under equal rates {found.p_value:.1%} reach it.",
        pd.DataFrame(rows),
        {**headings, "unbiased": "Unbiased"},
        {
            **dict.fromkeys(("difference", "low", "high"), ".2f"),
            **{f"{what}_{short}": ".2f" for what in ("bias", "spread") for short in _TRUTHS.values()},
            **{f"coverage_{short}": ".0f" for short in _TRUTHS.values()},
        },
    )


def regret(analysis: Analysis) -> Table:
    """Loss above the optimum of the rule of equal rates, against compute."""
    import pandas as pd

    columns: dict[str, np.ndarray] = {}
    headings = {"compute": f"Compute, {analysis.runs.compute_unit}"}
    anchors = []
    for form, found in analysis.regret.items():
        every = slice(None, None, 4)
        columns |= {
            "compute": found.compute[every],
            form: found.percent[every],
            f"{form}_low": found.low[every],
            f"{form}_high": found.high[every],
        }
        headings |= {form: f"Regret, {form} surface, %", f"{form}_low": f"Low, {form}", f"{form}_high": f"High, {form}"}
        worst = analysis.worst_regret(form)[1]
        anchors.append(
            f"{form} {found.percent.max():.2f}% ({worst.min():.2f} to {worst.max():.2f}% from other anchors)"
        )
    return Table(
        "regret",
        "Loss above the optimum, in percent of it, where size and "
        f"{_growing(analysis)} grow at equal rates from the optimum at {_compute(analysis.anchor)} "
        f"{analysis.runs.compute_unit}, the geometric mean of the runs' range; 95% intervals by resampling runs. "
        f"The largest over the range: {'; '.join(anchors)}.",
        pd.DataFrame(columns),
        headings,
        {"compute": ",.0f" if 100 <= analysis.anchor < 1e9 else ".3g", **dict.fromkeys(list(columns)[1:], ".2f")},
    )


def held_out(analyses: Mapping[str, Analysis]) -> Table:
    """Predictions of the dearer runs by forms fitted to the cheaper ones."""
    import pandas as pd

    rows = []
    for quantity, analysis in analyses.items():
        for found in analysis.held_out:
            errors = found.errors_percent
            rows.append(
                {
                    "quantity": quantity,
                    "form": found.form,
                    "fitted": found.fitted,
                    "held_out": len(errors),
                    "mean": float(errors.mean()),
                    "lowest": float(errors.min()),
                    "highest": float(errors.max()),
                    "dearest": float(errors[found.compute.argmax()]),
                    "inside": found.inside,
                }
            )
    limits = {f"{_compute(a.limit)} {a.runs.compute_unit}" for a in analyses.values()}
    return Table(
        "held_out",
        f"Runs beyond {', '.join(sorted(limits))} predicted by forms fitted to the runs up to there: error of the "
        "prediction in percent of the value, above zero where the prediction is too high. Laws are fitted to the "
        "frontier of the cheaper runs and judged by the runs of the whole frontier, surfaces by all runs.",
        pd.DataFrame(rows, columns=["quantity", "form", "fitted", "held_out", *_ERRORS, "inside"]),
        {
            "quantity": "Quantity",
            "form": "Form",
            "fitted": "Runs fitted",
            "held_out": "Runs predicted",
            **_ERRORS,
            "inside": "Inside the 95% prediction interval",
        },
        dict.fromkeys(_ERRORS, "+.2f"),
    )


_ERRORS = {
    "mean": "Mean error, %",
    "lowest": "Lowest, %",
    "highest": "Highest, %",
    "dearest": "Error of the dearest run, %",
}


def repeated_data(analysis: Analysis) -> Table:
    """What repeated data are worth, and what that does to the irreducible loss."""
    import pandas as pd

    rows = []
    for form, found in analysis.repetition.items():
        profile = found.profile
        at = {float(held): float(e) for held, e in zip(profile.held, profile.irreducible, strict=True)}
        rows.append(
            {
                "form": form,
                "best": found.best,
                "low": found.low,
                "high": found.high,
                "ratio": found.ratio,
                "floor_ratio": found.floor_ratio,
                "irreducible_low": at[found.low],
                "irreducible_best": at[found.best],
                "irreducible_new": at[float(np.inf)],
            }
        )
    unit = analysis.runs.value_unit
    return Table(
        "repeated_data",
        "Repetitions in the surface (Muennighoff et al. 2023): examples seen for 1 + R epochs of U count as "
        "U + U R* (1 - exp(-R / R*)), an infinite R* as new ones. The 95% likelihood interval of R*, the "
        "likelihood-ratio statistics of an infinite R* and of E = 0 with R* free, and the irreducible loss E at three "
        "values of R*.",
        pd.DataFrame(rows),
        {
            "form": "Form",
            "best": "Likeliest R*",
            "low": "Low",
            "high": "High",
            "ratio": "Likelihood ratio, R* infinite",
            "floor_ratio": "Likelihood ratio, E = 0",
            "irreducible_low": f"E at the low R*, {unit}",
            "irreducible_best": f"E at the likeliest, {unit}",
            "irreducible_new": f"E at an infinite R*, {unit}",
        },
        {
            **dict.fromkeys(("best", "low", "high"), ".3g"),
            **dict.fromkeys(("ratio", "floor_ratio"), ".1f"),
            **dict.fromkeys(("irreducible_low", "irreducible_best", "irreducible_new"), ".2f"),
        },
    )
