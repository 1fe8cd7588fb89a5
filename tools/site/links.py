"""What belongs together: a figure with its data files and claims, read from the code that draws it."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import cache

from tools.site.pages import ROOT

__all__ = ["claims_of_figures", "data_of_figures", "docstring_of"]

SHOWN: Mapping[str, tuple[str, ...]] = {
    "figure1": (
        "matches-vits",
        "competitive-with-G14",
        "top1-improves-with-compute",
        "f7plus-90.3",
        "f7plus-90.4-repeated-augmentation",
        "repeated-augmentation-helps",
    ),
    "figure2": ("loss-falls", "loss-loglog-linear", "larger-is-better", "f7plus-not-smooth", "compute-range"),
    "figure3": ("learning-rate-small-budgets", "learning-rate-falls-with-epochs", "learning-rate-two-trials"),
    "scaling_law": ("loss-loglog-linear", "loss-exponent", "loss-irreducible"),
    "compute_optimal": ("size-grows", "epochs-grow", "same-rate", "one-epoch-at-5k"),
    "loss_vs_error": ("lowest-loss-not-best", "finetuning-favours-larger"),
    "utilisation": ("utilisation-constant", "utilisation-decides-plus"),
    "nfnet_vs_vit": ("nfnets-lead-sweep", "nfnets-lead-later-points-stated", "printed-law-of-sweep"),
    "nfnet_vs_vit_flops": ("nfnets-lead-sweep-flops", "nfnets-lead-later-points-flops"),
    "vit_advantage": ("nfnets-lead-sweep", "nfnets-lead-later-points", "vits-lead-beyond-nfnets"),
    "vit_sensitivity": (
        "fitted-frontiers-differ",
        "fitted-frontiers-differ-flops",
        "fitted-frontiers-differ-at-the-dearest",
    ),
    "inference_cost": ("nfnets-lead-inference-sweep", "inference-divided"),
    "family_cost": ("depth-doubles", "plus-is-wider", "table3-counts", "plus-is-published-width"),
    "signal_propagation": ("variance-as-expected", "variance-grows-within-stages"),
    "agc_at_work": ("clipping-stabilises",),
    "accuracy_latency": ("accuracy-grows-with-latency",),
    "replication": ("own-log-log-law", "own-larger-wins", "own-rate-falls", "own-swaps", "own-convnets-match"),
}
"""Claims that a figure lets one see; tests hold every name against the registry and claims.toml."""


@cache
def docstring_of(name: str) -> str:
    """Docstring of the module that draws a figure, without importing it."""
    return ast.get_docstring(ast.parse((ROOT / "figures" / f"{name}.py").read_text(encoding="utf-8"))) or ""


def data_of_figures(name: str) -> list[str]:
    """Data files that a figure's module names; ``smith2023_figure1.csv`` stands beside its siblings by name."""
    known = {path.name for path in (ROOT / "paper" / "data").glob("*.csv")}
    return [file for file in dict.fromkeys(re.findall(r"\w+\.csv", docstring_of(name))) if file in known]


def claims_of_figures() -> dict[str, list[str]]:
    """Ids of the claims that each figure shows."""
    return {name: list(ids) for name, ids in SHOWN.items()}
