"""Measured speeds, from the JSON files that `python -m benchmarks.model` writes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfnet.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COMMAND", "RESULTS", "load_speeds", "machine_line"]

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
COMMAND = "python -m benchmarks.model --released CHECKOUT --timm-python PYTHON"
COLUMNS = (
    "file", "network", "shape", "resolution", "batch", "dtype", "allocator", "mode", "implementation", "seconds",
    "seconds_low", "seconds_high", "speedup", "speedup_low", "speedup_high", "temp_bytes", "peak_rss_bytes",
    "compile_s", "share_of_peak", "cpu", "machine",
)  # fmt: skip
MODES = ("train", "forward")


def load_speeds(directory: Path = RESULTS) -> pd.DataFrame:
    """Loads every ``model*.json``, a row for each mode and implementation; none gives an empty table.

    Columns: ``COLUMNS``; ``shape`` is told of networks without a name; ``cpu`` is the maker's name without its marks;
    ``allocator`` is "default" or "hugepages", for all implementations of a file alike; ``seconds`` and ``speedup`` over
    the released code are medians with their range, a speed-up is NaN where the released code was not measured.

    Raises:
        UserError: If a file is malformed; the sentence names file and field.
    """
    import pandas as pd

    rows = [row for path in sorted(directory.glob("model*.json")) for row in _rows(path)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def machine_line(machine: Mapping[str, Any]) -> str:
    """Describes a machine in one line."""
    packages = machine["packages"]
    versions = ", ".join(f"{name} {packages[name]}" for name in ("jax", "torch", "timm") if name in packages)
    device = "" if machine["device_kind"].lower() == "cpu" else f"{machine['device_kind']}; "
    cores = f"{machine['cores']} core{'s' * (machine['cores'] != 1)}"
    return f"{device}{cores} of {machine['cpu']}; {versions}; code {machine['commit']}; {machine['date']}"


def _shape(network: Mapping[str, Any]) -> str:
    widths, depths = (", ".join(map(str, network[name])) for name in ("widths", "depths"))
    return f" (widths {widths}; depths {depths})"


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        settings, network = record["settings"], record["settings"]["network"]
        shared = {
            "file": path.name,
            "network": f"NFNet-{network}" if isinstance(network, str) else "small network",
            "shape": "" if isinstance(network, str) else _shape(network),
            **{key: settings[key] for key in ("resolution", "batch", "dtype", "allocator")},
            "cpu": re.sub(r"\((R|TM)\)", "", str(record["machine"]["cpu"])),
            "machine": machine_line(record["machine"]),
        }
        rows = [{**shared, **_row(one, path)} for one in record["results"]]
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path.name} is no result of benchmarks.model ({error}): make it anew.") from None
    except KeyError as error:
        raise UserError(f"{path.name} lacks the field {error.args[0]!r}: make it anew.") from None
    if not rows:
        raise UserError(f"{path.name} holds no results: make it anew.")
    return rows


def _row(one: Mapping[str, Any], path: Path) -> dict[str, Any]:
    if one["mode"] not in MODES:
        raise UserError(f"{path.name} has mode {one['mode']!r}, but it must be one of {', '.join(MODES)}.")
    speedup = one["speedup"] or dict.fromkeys(("median", "low", "high"), math.nan)
    row = {"mode": one["mode"], "implementation": str(one["implementation"])}
    for name, spread in (("seconds", one["seconds"]), ("speedup", speedup)):
        for column, key in ((name, "median"), (f"{name}_low", "low"), (f"{name}_high", "high")):
            row[column] = float(spread[key])
    for key in ("temp_bytes", "peak_rss_bytes", "compile_s", "share_of_peak"):
        row[key] = math.nan if one[key] is None else float(one[key])
    _check_positive(row, ("seconds", "seconds_low", "seconds_high", "peak_rss_bytes"), path)
    return row


def _check_positive(row: Mapping[str, Any], names: Sequence[str], path: Path) -> None:
    for name in names:
        if not (math.isfinite(row[name]) and row[name] > 0):
            raise UserError(f"{path.name} has {name} {row[name]} for {row['implementation']}: it must be above 0.")
