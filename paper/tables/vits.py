"""The comparison with Vision Transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paper.tables.table import Table

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["vit_comparison", "vit_conversion", "vit_inference", "vit_scenarios", "vit_sensitivity", "vit_sweep"]


def vit_comparison(study: Study) -> Table:
    """F7+ at its largest budget beside the Vision Transformers of Figure 1."""
    import pandas as pd

    results = study.results
    tuned = results.finetuning
    best = tuned[(tuned.model == "F7+") & (tuned.epochs == tuned.epochs.max())].sort_values("repeated_augmentation")
    repeated = best.repeated_augmentation
    text = {
        False: results.stated("finetune.f7plus_8_epochs.top1").value,
        True: results.stated("finetune.f7plus_8_epochs_repeated_augmentation.top1").value,
    }
    nfnets = pd.DataFrame(
        {
            "model": [f"NFNet-F7+{', repeated augmentation' if flag else ''}" for flag in repeated],
            "dataset": "JFT-4B",
            "hours_plotted": best.tpu_v4_core_hours.to_numpy(),
            "hours_text": results.stated("pretrain.max_compute").value,
            "v3_hours_text": float("nan"),
            "v3_bound": "",
            "error_plotted": best.imagenet_top1_error_percent.to_numpy(),
            "accuracy_text": [text[flag] for flag in repeated],
        }
    )
    vits = results.vits
    others = pd.DataFrame(
        {
            "model": vits.model,
            "dataset": vits.pretraining_dataset,
            "hours_plotted": vits.tpu_v4_core_hours_plotted,
            "hours_text": vits.tpu_v4_core_hours_text,
            "v3_hours_text": vits.tpu_v3_core_hours_text,
            "v3_bound": ["over" if bound else "" for bound in vits.tpu_v3_is_lower_bound],
            "error_plotted": vits.imagenet_top1_error_percent_plotted,
            "accuracy_text": vits.imagenet_top1_accuracy_percent_text,
        }
    )
    return Table(
        "vit_comparison",
        "The best NFNet beside the Vision Transformers of Figure 1: as plotted (smith2023_figure1.csv, "
        "smith2023_figure1_vit.csv) and as the text states them (smith2023_text.csv).",
        pd.concat([nfnets, others], ignore_index=True),
        {
            "model": "Model",
            "dataset": "Pre-training data",
            "hours_plotted": "Compute, plotted (TPU-v4 core hours)",
            "hours_text": "Compute, text (TPU-v4 core hours)",
            "v3_bound": "",
            "v3_hours_text": "Compute, text (TPU-v3 core hours)",
            "error_plotted": "Top-1 error, plotted (%)",
            "accuracy_text": "Top-1 accuracy, text (%)",
        },
        {
            "hours_plotted": ",.0f",
            "hours_text": ",.0f",
            "v3_hours_text": ",.0f",
            "error_plotted": ".2f",
            "accuracy_text": "g",
        },
    )


def vit_sweep(study: Study) -> Table:
    """Every fine-tuned run of Zhai et al. on the NFNets' axes, with the file and line of each."""
    from paper.vits.conversion import sweep

    frame = sweep(study.results)
    frame["file"] = [f"zhai2022_finetune.csv:{row + 2}" for row in frame.index]
    ratio = study.matched.ratio
    return Table(
        "vit_sweep",
        "Every fine-tuned run of Zhai et al. 2022 whose compute is known, the best model of their Table 1 last. TPU-v4 "
        "core hours are the TPU-v3 core hours of their Figure 2 by "
        f"{ratio.mid:.3f} [{ratio.low:.3f}, {ratio.high:.3f}] (derived), FLOPs are three forward passes an image "
        "(derived); files are of paper/data, with the line.",
        frame,
        {
            "model": "Model",
            "pretrain_dataset": "Pre-training data",
            "pretrain_steps": "Steps",
            "finetune_resolution": "Fine-tuned at (px)",
            "imagenet_top1_error_percent": "Top-1 error (%)",
            "tpu_v3_core_hours": "Compute (TPU-v3 core hours)",
            "low": "TPU-v4 core hours, low",
            "mid": "mid",
            "high": "high",
            "flops": "FLOPs of pre-training",
            "total_flops": "with fine-tuning",
            "source": "Source",
            "file": "File",
        },
        {
            "pretrain_steps": ",d",
            "finetune_resolution": "d",
            "imagenet_top1_error_percent": ".2f",
            "tpu_v3_core_hours": ",.1f",
            "low": ",.1f",
            "mid": ",.1f",
            "high": ",.1f",
            "flops": ".3g",
            "total_flops": ".3g",
        },
    )


def vit_conversion(study: Study) -> Table:
    """Models whose compute is known on both generations of TPU, and what follows from them."""
    from paper.vits.conversion import ACCOUNTINGS, anchors, flops_rate, hours_ratio

    frame = anchors(study.results)
    for column in ("rate", "rate_low", "rate_high"):
        frame[column] /= 1e12
    rate = flops_rate(study.results)
    ratios = [hours_ratio(study.results, accounting) for accounting in ACCOUNTINGS]
    told = ", and ".join(
        f"in the accounting {accounting!r} a TPU-v3 hour is {ratio.mid:.3f} [{ratio.low:.3f}, {ratio.high:.3f}] TPU-v4 "
        "hours"
        for accounting, ratio in zip(ACCOUNTINGS, ratios, strict=True)
    )
    return Table(
        "vit_conversion",
        "Models whose compute is known on TPU-v3 (Zhai et al.'s Figure 2, or as reported later) and TPU-v4 (Smith et "
        f"al.). Hence {told}; neither factor is used for the other's hours. A TPU-v4 "
        f"core does {rate.mid / 1e12:.1f} [{rate.low / 1e12:.1f}, {rate.high / 1e12:.1f}] TFLOP/s (derived).",
        frame,
        {
            "model": "Model",
            "accounting": "TPU-v3 hours from",
            "tpu_v3_core_hours": "TPU-v3 core hours",
            "tpu_v4_core_hours": "TPU-v4 core hours",
            "flops": "FLOPs",
            "ratio": "TPU-v4 per TPU-v3 hour",
            "ratio_low": "ratio, low",
            "ratio_high": "ratio, high",
            "rate": "TFLOP/s per TPU-v4 core",
            "rate_low": "rate, low",
            "rate_high": "rate, high",
        },
        {
            "tpu_v3_core_hours": ",.0f",
            "tpu_v4_core_hours": ",.0f",
            "flops": ".3g",
            **dict.fromkeys(("ratio", "ratio_low", "ratio_high"), ".3f"),
            **dict.fromkeys(("rate", "rate_low", "rate_high"), ".1f"),
        },
    )


def vit_scenarios(study: Study) -> Table:
    """Who leads at matched compute, under every choice of runs and conversion."""
    return Table(
        "vit_scenarios",
        "Best NFNet against best Vision Transformer within each budget (equally spaced in its logarithm, up to the "
        "dearest NFNet): shares of budgets at which the NFNet has the lower error, has it by more than the noise of "
        "the test set, and has an error that is higher by more than that; its least and greatest advantage in "
        "percentage points, and the budgets at which a Vision Transformer leads.",
        study.matched.table,
        {
            "scenario": "Runs",
            "axis": "Budget",
            "conversion": "Conversion",
            "share_led": "NFNets lead (share)",
            "share_beyond": "beyond noise",
            "share_behind": "Vision Transformers lead beyond noise",
            "least": "Least advantage (points)",
            "most": "Greatest advantage (points)",
            "vit_leads": "A Vision Transformer leads at",
        },
        {**dict.fromkeys(("share_led", "share_beyond", "share_behind"), ".3f"), "least": "+.2f", "most": "+.2f"},
    )


def vit_sensitivity(study: Study) -> Table:
    """The fitted frontiers' difference under every choice at once."""
    return Table(
        "vit_sensitivity",
        "Fitted frontier of the Vision Transformers less that of the NFNets under every choice of runs and accounting, "
        "ViT-G/14, least compute that is fitted (as a share of the cheapest NFNet's) and what the bootstrap draws "
        "(points of the frontier as logged, or runs or models with the frontier found anew): share of budgets at which "
        "the whole interval is on the NFNets' or the Vision Transformers' side, and the difference at the dearest "
        "NFNet's compute in percentage points.",
        study.matched.sensitivity.assign(largest=study.matched.sensitivity.largest.map({True: "in", False: "out"})),
        {
            "runs": "Runs and accounting",
            "axis": "Budget",
            "largest": "ViT-G/14",
            "cut_off": "Cut-off",
            "resampled": "Resampled",
            "share_apart": "NFNets lower (share)",
            "share_behind": "Vision Transformers lower (share)",
            "points": "Difference at the dearest (points)",
            "low": "low",
            "high": "high",
        },
        {
            "cut_off": ".2f",
            **dict.fromkeys(("share_apart", "share_behind"), ".2f"),
            **dict.fromkeys(("points", "low", "high"), "+.2f"),
        },
    )


def vit_inference(study: Study) -> Table:
    """Errors of both families against the cost of a forward pass."""
    names = {"nfnet": "NFNet", "vit": "Vision Transformer"}
    frame = study.matched.inference
    training = frame.repeated_augmentation.map({True: "repeated augmentation", False: ""})
    return Table(
        "vit_inference",
        "Lowest error of each model at each resolution at which it was evaluated, and the operations of a forward pass "
        "there (a multiply-add being two; NFNets computed from the models, '+' variants as published).",
        frame.assign(family=frame.family.map(names), note=training.where(~frame.later, "later result")).drop(
            columns=["later", "repeated_augmentation"]
        ),
        {
            "family": "Family",
            "model": "Model",
            "note": "",
            "resolution": "Evaluated at (px)",
            "gflops": "GFLOPs an image",
            "error": "Top-1 error (%)",
        },
        {"resolution": "d", "gflops": ",.1f", "error": ".2f"},
    )
