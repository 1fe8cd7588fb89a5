"""Names of the figures, and the modules that draw them. Nothing heavy is imported until a figure is drawn."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from nfnet.errors import unknown_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from paper.study import Study

__all__ = ["FIGURES", "check", "draw", "names"]

FIGURES = {
    "figure1": "the paper's Figure 1: top-1 error after fine-tuning against pre-training compute",
    "figure2": "the paper's Figure 2: held-out loss against pre-training compute",
    "figure3": "the paper's Figure 3: optimal learning rate against epoch budget",
    "scaling_law": "the law of held-out loss on the compute frontier, its bands and residuals",
    "compute_optimal": "optimal model size and epoch budget against compute, and the regret of equal rates",
    "loss_vs_error": "held-out loss against top-1 error after fine-tuning of the same checkpoints",
    "utilisation": "hardware utilisation that each run's compute implies",
    "nfnet_vs_vit": "ImageNet error of NFNets and of every Vision Transformer against TPU-v4 core hours",
    "nfnet_vs_vit_flops": "the same against training FLOPs, free of hardware",
    "vit_advantage": "how far apart both families are at matched compute, by single runs and fitted frontiers",
    "vit_sensitivity": "the fitted frontiers' difference under every choice of runs, accounting and resampling",
    "inference_cost": "ImageNet error of both families against operations of a forward pass",
    "family_cost": "where parameters and multiply-adds of each variant go",
    "signal_propagation": "variance along the blocks at initialisation, beside what beta expects",
    "agc_at_work": "which units adaptive gradient clipping clips, and what that prevents",
    "accuracy_latency": "ImageNet top-1 accuracy of F0 to F6 against training latency (Brock et al. 2021)",
    "replication": "our own small runs: loss, learning rates and fine-tuning of NFNets and Vision Transformers",
    "speed": "times the released code's speed, ours and timm's, a row a machine",
}
"""What each figure shows; the module of a figure bears its name."""


def names() -> tuple[str, ...]:
    """Names of all figures: the paper's first, then ours."""
    return tuple(FIGURES)


def check(name: str) -> str:
    """Returns ``name``.

    Raises:
        UserError: If no figure has that name.
    """
    if name in FIGURES:
        return name
    raise unknown_name("figure", name, names())


def draw(name: str, study: Study) -> Figure:
    """Draws the figure called ``name`` from ``study``.

    Raises:
        UserError: If no figure has that name.
    """
    figure: Figure = import_module(f"figures.{check(name)}").from_study(study)
    return figure
