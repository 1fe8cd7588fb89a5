"""The logged results as typed, validated tables.

``python -m paper.results`` checks every file of ``paper/data``; ``--rehash`` records meant changes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfnet.errors import UserError
from paper.commands import run
from paper.provenance import DATA

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["DATA", "MODELS", "Quantity", "Results", "load", "run_name"]

MODELS = ("F0", "F1", "F3", "F3+", "F7", "F7+")
"""The paper's NFNets in the order of its Figure 2's legend."""


@dataclass(frozen=True)
class Quantity:
    """A number stated in the paper's text.

    Attributes:
        value: The value as printed.
        unit: Its unit; ``1`` where there is none.
        uncertainty: Half-width of what the printed digits or the wording leave open, in the same unit.
        location: Section or footnote.
    """

    value: float
    unit: str
    uncertainty: float
    location: str


@dataclass(frozen=True)
class Results:
    """Every logged result, one table a resource of ``datapackage.json``.

    Attributes:
        pretraining: Figure 2; ``model``, ``epochs``, ``tpu_v4_core_hours``, ``jft4b_val_loss`` (nats).
        finetuning: Figure 1; ``model``, ``epochs``, ``tpu_v4_core_hours``, ``imagenet_top1_error_percent``,
            ``repeated_augmentation``.
        vits: The three Vision Transformers of Figure 1, as plotted and as the text states them.
        learning_rates: Figure 3; ``model``, ``epochs``, ``optimal_learning_rate``.
        readings: Figures 1 and 2 before rounding.
        text: Every number of the text; see :meth:`stated`.
        nfnet_imagenet: Brock et al. 2021, Table 3.
        nfnet_jft_resnets: Brock et al. 2021, Table 4.
        nfnet_extra_data: Brock et al. 2021, Table 5.
        vit_finetuning: Zhai et al. 2022, every fine-tuned run.
        vit_fewshot: Zhai et al. 2022, few-shot accuracy of every run.
        vit_models: Zhai et al. 2022, Table 2.
        vit_rates: Compute per step of each model of Zhai et al. 2022.
        vit_laws: Laws printed in Zhai et al. 2022, Figure 2.
        sovit_compute: Compute of SoViT-400m/14 and ViT-g/14 in Alabdulmohsin et al. 2023.
        sovit_table: Alabdulmohsin et al. 2023, Table 1.
        language_exponents: Hoffmann et al. 2022, Table 2.
        hardware: Theoretical peak of accelerators.
        datasets: Sizes of public data sets.
        package: The parsed ``datapackage.json``.
    """

    pretraining: pd.DataFrame
    finetuning: pd.DataFrame
    vits: pd.DataFrame
    learning_rates: pd.DataFrame
    readings: pd.DataFrame
    text: pd.DataFrame
    nfnet_imagenet: pd.DataFrame
    nfnet_jft_resnets: pd.DataFrame
    nfnet_extra_data: pd.DataFrame
    vit_finetuning: pd.DataFrame
    vit_fewshot: pd.DataFrame
    vit_models: pd.DataFrame
    vit_rates: pd.DataFrame
    vit_laws: pd.DataFrame
    sovit_compute: pd.DataFrame
    sovit_table: pd.DataFrame
    language_exponents: pd.DataFrame
    hardware: pd.DataFrame
    datasets: pd.DataFrame
    package: dict[str, Any]

    @cached_property
    def _quantities(self) -> dict[str, Quantity]:
        columns = (self.text[name] for name in ("quantity", "value", "unit", "uncertainty", "location"))
        return {
            str(name): Quantity(float(value), str(unit), float(uncertainty), str(location))
            for name, value, unit, uncertainty, location in zip(*columns, strict=True)
        }

    def stated(self, quantity: str) -> Quantity:
        """Returns a number that the paper's text states, e.g. ``"pretrain.images"``.

        Raises:
            DataError: If ``smith2023_text.csv`` has no such quantity.
        """
        from paper.provenance.description import DataError

        try:
            return self._quantities[quantity]
        except KeyError:
            raise DataError(
                f"smith2023_text.csv: no quantity {quantity!r}; known are {', '.join(sorted(self._quantities))}."
            ) from None

    def half_width(self, resource: str, field: str, values: np.ndarray | pd.Series) -> np.ndarray:
        """Reading uncertainty (half-width, in the field's unit) of ``values`` of ``field`` of ``resource``."""
        from paper.provenance.description import field_of, half_width, resource_of

        return half_width(field_of(resource_of(self.package, resource), field), values)


_TABLES = {
    "pretraining": "smith2023-figure2",
    "finetuning": "smith2023-figure1",
    "vits": "smith2023-figure1-vit",
    "learning_rates": "smith2023-figure3",
    "readings": "smith2023-digitisation-raw",
    "text": "smith2023-text",
    "nfnet_imagenet": "brock2021-table3",
    "nfnet_jft_resnets": "brock2021-table4",
    "nfnet_extra_data": "brock2021-table5",
    "vit_finetuning": "zhai2022-finetune",
    "vit_fewshot": "zhai2022-fewshot",
    "vit_models": "zhai2022-models",
    "vit_rates": "zhai2022-rates",
    "vit_laws": "zhai2022-laws",
    "sovit_compute": "alabdulmohsin2023-compute",
    "sovit_table": "alabdulmohsin2023-table1",
    "language_exponents": "hoffmann2022-exponents",
    "hardware": "hardware",
    "datasets": "datasets",
}


def run_name(model: str, epochs: float) -> str:
    """How text names a run, e.g. ``F7+ at 8 epochs``."""
    return f"{model} at {epochs:g} epoch{'' if epochs == 1 else 's'}"


def load(directory: Path = DATA, *, verify_hash: bool = True) -> Results:
    """Loads and validates every table of the data package in ``directory``.

    Args:
        directory: Folder with ``datapackage.json`` and its CSV files.
        verify_hash: Whether each file must have its recorded SHA-256.

    Raises:
        DataError: One sentence with file, line, field and remedy; see :mod:`paper.provenance`.
    """
    from paper.provenance.description import check_columns, read_package, resource_of
    from paper.provenance.resources import read_resource

    package = read_package(directory)
    shipped = package if directory == DATA else read_package(DATA)
    for name in _TABLES.values():
        check_columns(resource_of(package, name), resource_of(shipped, name))
    tables = {
        attribute: read_resource(directory, resource_of(package, name), verify_hash=verify_hash)
        for attribute, name in _TABLES.items()
    }
    return Results(**tables, package=package)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: validates the data package; returns 0, or 2 with one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="python -m paper.results", description="Check the logged results.")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data package")
    parser.add_argument("--rehash", action="store_true", help="record the hashes of changed, valid files")
    arguments = parser.parse_args(argv)
    from paper.provenance.resources import rehash

    try:
        if arguments.rehash:
            print("recorded: " + (", ".join(rehash(arguments.data)) or "nothing changed"))
        results = load(arguments.data)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for attribute, name in _TABLES.items():
        print(f"{name}: {len(getattr(results, attribute))} rows, valid")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
