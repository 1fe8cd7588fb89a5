"""The networks, computed from their models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paper.tables.table import Table

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["nfnet_family"]


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
