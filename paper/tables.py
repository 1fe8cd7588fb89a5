"""The tables of the report, as Markdown, LaTeX and CSV.

Markdown and LaTeX hold formatted numbers; CSV holds the same table unrounded.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfnet.errors import UserError
from paper.commands import require_writable, run

if TYPE_CHECKING:
    import pandas as pd

    from paper.claims import Checked
    from paper.study import Study

__all__ = [
    "TABLES",
    "Table",
    "claims",
    "compose",
    "fits",
    "nfnet_family",
    "runs",
    "vit_comparison",
    "vit_conversion",
    "vit_scenarios",
    "vit_sweep",
    "write_all",
]


@dataclass(frozen=True)
class Table:
    """A table with its heading texts and number formats.

    Attributes:
        name: File name without ending.
        caption: One sentence.
        frame: Unrounded values.
        headings: Heading of each column, with its unit.
        formats: Format specification of numeric columns.
    """

    name: str
    caption: str
    frame: pd.DataFrame
    headings: Mapping[str, str]
    formats: Mapping[str, str] = field(default_factory=dict)

    def formatted(self) -> pd.DataFrame:
        """The table as it is read: formatted numbers, empty cells for missing ones, headings with units."""
        import pandas as pd

        columns = {}
        for name, heading in self.headings.items():
            spec = self.formats.get(name, "")
            columns[heading] = ["" if pd.isna(value) else format(value, spec) for value in self.frame[name]]
        return pd.DataFrame(columns)

    def markdown(self) -> str:
        """GitHub-flavoured Markdown with the caption above."""
        frame = self.formatted().map(lambda cell: cell.replace("|", "\\|"))
        body = frame.to_markdown(index=False, disable_numparse=True, colalign=self._alignment())
        return f"{self.caption}\n\n{body}\n"

    def latex(self) -> str:
        """A LaTeX ``table`` (booktabs) with caption and label."""
        alignment = "".join("r" if side == "right" else "l" for side in self._alignment())
        return str(
            self.formatted().to_latex(
                index=False, escape=True, caption=self.caption, label=f"tab:{self.name}", column_format=alignment
            )
        )

    def csv(self) -> str:
        """Unrounded values."""
        return str(self.frame.to_csv(index=False, lineterminator="\n"))

    def _alignment(self) -> list[str]:
        return ["right" if name in self.formats else "left" for name in self.headings]


def runs(study: Study) -> Table:
    """Every pre-training run with what is known of it, and the file and line of each number."""
    results = study.results
    table = results.pretraining.assign(loss_source=_lines(results.pretraining, "smith2023_figure2.csv"))
    tuned = results.finetuning.assign(source=_lines(results.finetuning, "smith2023_figure1.csv"))
    for repeated, suffix in ((False, ""), (True, "_repeated_augmentation")):
        part = tuned[tuned.repeated_augmentation == repeated]
        part = part.rename(
            columns={
                "imagenet_top1_error_percent": f"imagenet_top1_error_percent{suffix}",
                "source": f"error_source{suffix}",
            }
        ).drop(columns=["repeated_augmentation", "tpu_v4_core_hours"])
        table = table.merge(part, on=["model", "epochs"], how="left")
    rates = results.learning_rates.assign(rate_source=_lines(results.learning_rates, "smith2023_figure3.csv"))
    table = table.merge(rates, on=["model", "epochs"], how="left")
    table = table.merge(study.utilisation, on=["model", "epochs", "tpu_v4_core_hours"])
    sources = ["loss_source", "error_source", "error_source_repeated_augmentation", "rate_source"]
    table["sources"] = table[sources].apply(lambda row: "; ".join(row.dropna()), axis=1)
    return Table(
        "runs",
        "Every pre-training run. Utilisation is derived, under the published and the released reading of '+'; sources "
        "are files of paper/data with the line.",
        table.drop(columns=sources),
        {
            "model": "Model",
            "epochs": "Epochs",
            "tpu_v4_core_hours": "Compute (TPU-v4 core hours)",
            "jft4b_val_loss": "Held-out loss (nats)",
            "imagenet_top1_error_percent": "Top-1 error (%)",
            "imagenet_top1_error_percent_repeated_augmentation": "with repeated augmentation (%)",
            "optimal_learning_rate": "Optimal learning rate",
            "published": "Utilisation, published '+'",
            "released": "Utilisation, released '+'",
            "sources": "Sources",
        },
        {
            "epochs": "g",
            "tpu_v4_core_hours": ",d",
            "jft4b_val_loss": ".3f",
            "imagenet_top1_error_percent": ".2f",
            "imagenet_top1_error_percent_repeated_augmentation": ".2f",
            "optimal_learning_rate": "g",
            "published": ".3f",
            "released": ".3f",
        },
    )


def _lines(table: pd.DataFrame, file: str) -> list[str]:
    """File and line of each row; line 1 is the header."""
    return [f"{file}:{row + 2}" for row in range(len(table))]


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
    from paper.compute import sweep

    frame = sweep(study.results)
    frame["file"] = [f"zhai2022_finetune.csv:{row + 2}" for row in frame.index]
    ratio = study.matched.ratio
    return Table(
        "vit_sweep",
        "Every fine-tuned run of Zhai et al. 2022 whose compute is known. TPU-v4 core hours are TPU-v3 core hours by "
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
    from paper.compute import anchors, flops_rate

    frame = anchors(study.results)
    for column in ("rate", "rate_low", "rate_high"):
        frame[column] /= 1e12
    ratio, rate = study.matched.ratio, flops_rate(study.results)
    return Table(
        "vit_conversion",
        "Models whose compute is known on TPU-v3 (Zhai et al.'s Figure 2, or as reported later) and TPU-v4 (Smith et "
        f"al.). Hence a TPU-v3 hour is {ratio.mid:.3f} [{ratio.low:.3f}, {ratio.high:.3f}] TPU-v4 hours, and a TPU-v4 "
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
        "dearest NFNet): share of budgets at which the NFNet has the lower error, its least and greatest advantage in "
        "percentage points, and the budgets at which a Vision Transformer leads.",
        study.matched.table,
        {
            "scenario": "Runs",
            "axis": "Budget",
            "conversion": "Conversion",
            "share_led": "NFNets lead (share)",
            "least": "Least advantage (points)",
            "most": "Greatest advantage (points)",
            "vit_leads": "A Vision Transformer leads at",
        },
        {"share_led": ".3f", "least": "+.2f", "most": "+.2f"},
    )


def nfnet_family(study: Study) -> Table:
    """Every variant under both readings of '+': depth, widths and cost computed from the model."""
    import pandas as pd

    from nfnet import VARIANTS
    from paper.family import PLUS_WIDTHS, variant_cost

    pretraining = round(study.results.stated("pretrain.train_resolution").value)
    accuracy = study.results.nfnet_imagenet.set_index("model").imagenet_top1_percent
    rows = []
    for name, config in VARIANTS.items():
        for plus_width in PLUS_WIDTHS if name.endswith("+") else PLUS_WIDTHS[:1]:
            # Brock et al. name test resolutions for the variants without '+' only.
            test = None if name.endswith("+") else config.test_resolution
            cost = variant_cost(name, pretraining, plus_width=plus_width)
            rows.append(
                {
                    "variant": name,
                    "plus_width": plus_width if name.endswith("+") else "",
                    "depths": "-".join(str(depth) for depth in config.depths),
                    "widths": "-".join(str(width) for width in config.widths),
                    "parameters": cost.parameters / 1e6,
                    "gmacs_pretraining": cost.macs / 1e9,
                    "test_resolution": test,
                    "gmacs_test": variant_cost(name, test).macs / 1e9 if test else float("nan"),
                    "imagenet_top1": accuracy.get(f"NFNet-{name}", accuracy.get(f"NFNet-{name} + SAM")),
                }
            )
    return Table(
        "nfnet_family",
        f"The NFNet family with 1000 classes, computed from the model; multiply-adds per image at {pretraining} px and "
        "at test resolution. Top-1 without extra data: brock2021_table3.csv (F6: with SAM, the only row printed).",
        pd.DataFrame(rows),
        {
            "variant": "Variant",
            "plus_width": "Reading of '+'",
            "depths": "Depth",
            "widths": "Widths",
            "parameters": "Parameters (M)",
            "gmacs_pretraining": f"Multiply-adds at {pretraining} px (G)",
            "test_resolution": "Test resolution (px)",
            "gmacs_test": "Multiply-adds at test (G)",
            "imagenet_top1": "Top-1, ImageNet alone (%)",
        },
        {
            "parameters": ".1f",
            "gmacs_pretraining": ".2f",
            "test_resolution": ".0f",
            "gmacs_test": ".2f",
            "imagenet_top1": ".1f",
        },
    )


def fits(study: Study) -> Table:
    """Every fitted number with its 95% interval."""
    import pandas as pd

    from paper.fitting import Estimate

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


def claims(study: Study, checked: Sequence[Checked] | None = None) -> Table:
    """Every claim with its computed verdict and the evidence."""
    import pandas as pd

    from paper.claims import evaluate

    rows = [
        {
            "id": item.claim.id,
            "section": item.claim.section,
            "origin": item.claim.origin,
            "statement": item.claim.statement,
            "verdict": str(item.outcome.verdict),
            "evidence": item.outcome.evidence,
            "caveat": item.claim.caveat,
            "notebook": item.claim.notebook,
        }
        for item in (evaluate(study) if checked is None else checked)
    ]
    return Table(
        "claims",
        "Claims of the paper, and statements of ours about its data, each checked against the logged results.",
        pd.DataFrame(rows),
        {
            "id": "Claim",
            "section": "Section",
            "origin": "Whose",
            "statement": "Statement (paraphrased)",
            "verdict": "Verdict",
            "evidence": "Evidence (computed)",
            "caveat": "Caveat",
            "notebook": "Notebook",
        },
    )


TABLES: Mapping[str, Callable[[Study], Table]] = {
    "runs": runs,
    "vit_comparison": vit_comparison,
    "vit_conversion": vit_conversion,
    "vit_sweep": vit_sweep,
    "vit_scenarios": vit_scenarios,
    "nfnet_family": nfnet_family,
    "fits": fits,
    "claims": claims,
}


def compose(study: Study, checked: Sequence[Checked] | None = None) -> dict[str, str]:
    """Every table in every format: text by file name; ``checked`` are the claims where they are checked already."""
    texts = {}
    for name, make in TABLES.items():
        table = claims(study, checked) if name == "claims" else make(study)
        texts[f"{table.name}.md"] = table.markdown()
        texts[f"{table.name}.tex"] = table.latex()
        texts[f"{table.name}.csv"] = table.csv()
    return texts


def write_all(texts: Mapping[str, str], directory: Path) -> list[Path]:
    """Writes what :func:`compose` returns to ``directory``, which is made when missing.

    Returns:
        The files, in order.

    Raises:
        UserError: If the folder cannot be written to.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            temporary = directory / f"{name}.tmp"
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, directory / name)
    except OSError as error:
        raise UserError(f"{directory}: cannot be written ({error.strerror}); choose another folder.") from None
    return [directory / name for name in texts]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0, or 2 with one sentence on standard error."""
    from paper.results import DATA

    parser = argparse.ArgumentParser(prog="python -m paper.tables", description="Write the tables of the report.")
    parser.add_argument("--out", type=Path, default=Path("build/tables"), help="folder to write to")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data package")
    arguments = parser.parse_args(argv)
    from paper.study import Study

    try:
        require_writable(arguments.out)
        paths: list[Any] = write_all(compose(Study.load(arguments.data)), arguments.out)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for path in paths:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
