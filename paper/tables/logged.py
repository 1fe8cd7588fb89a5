"""The logged runs of NFNets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paper.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd

    from paper.study import Study

__all__ = ["runs"]


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
