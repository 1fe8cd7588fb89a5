"""What a training step of ours costs as depth, width, resolution, batch and devices grow.

    python -m benchmarks.scaling [--sweeps depth,width] [--variants F0,F1]

All points of a sweep take steps in turn; a power law through them gives the exponent. Devices are those that XLA's CPU
backend simulates, so that their sweep shows what splitting costs on the same cores.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from benchmarks.driver import environment, interleave
from benchmarks.machine import describe
from benchmarks.model import MICRO, jax_worker
from benchmarks.report import RESULTS, emit, parser, positive, run, say
from benchmarks.timing import slope, summary
from nfnet.errors import UserError, unknown_name

__all__ = ["SWEEPS", "main", "points"]

SWEEPS = ("depth", "width", "resolution", "batch", "devices")
DEVICES = "--xla_force_host_platform_device_count"
_FACTORS = (1, 2, 4)


def points(sweep: str, base: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the sizes of a sweep and the settings of each."""
    network = base["network"]
    for factor in _FACTORS:
        changed = dict(base)
        size = factor
        if sweep == "depth":
            changed["network"] = {**network, "depths": [factor * depth for depth in network["depths"]]}
            size = sum(changed["network"]["depths"])
        elif sweep == "width":
            changed["network"] = {**network, "widths": [factor * width for width in network["widths"]]}
            size = changed["network"]["widths"][0]
        elif sweep in ("resolution", "batch"):
            changed[sweep] = size = factor * base[sweep]
        yield size, changed


def _main(arguments: Sequence[str] | None) -> int:
    line = parser("scaling", "Measure how a training step grows with depth, width, resolution, batch and devices.")
    line.add_argument("--sweeps", default=",".join(SWEEPS), help="which (%(default)s)")
    line.add_argument("--variants", help="depth: named variants instead of multiples of the small network, e.g. F0,F1")
    line.add_argument("--batch", type=positive, default=16, help="smallest batch (%(default)s)")
    line.add_argument("--resolution", type=positive, default=32, help="smallest image, in pixels (%(default)s)")
    line.add_argument("--rounds", type=positive, default=5, help="steps of each that are kept (%(default)s)")
    options = line.parse_args(arguments)
    sweeps = options.sweeps.split(",")
    for sweep in sweeps:
        if sweep not in SWEEPS:
            raise unknown_name("sweep", sweep, SWEEPS)
    from nfnet import NFNetConfig
    from nfnet.cost.cost import network_cost
    from nfnet.models.nfnet import find_variant

    base = {"implementation": "ours", "mode": "train", "network": MICRO, "classes": 10, "dtype": "float32"}
    base |= {"batch": options.batch, "resolution": options.resolution}
    tuples: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in MICRO.items()}
    network_cost(NFNetConfig(**tuples), options.resolution)  # an image that is too small is named before work starts
    results: list[dict[str, Any]] = []
    device_kind = ""
    for sweep in sweeps:
        found = list(points(sweep, base))
        if sweep == "depth" and options.variants:
            names = options.variants.split(",")
            if len(names) < 2:
                raise UserError(f"--variants is {options.variants!r}: a slope needs at least two, e.g. F0,F1.")
            found = [(sum(find_variant(name).depths), {**base, "network": name}) for name in names]
        starts = []
        for size, settings in found:
            env = environment()
            if sweep == "devices":
                env["XLA_FLAGS"] = f"{env.get('XLA_FLAGS', '')} {DEVICES}={size}".strip()
            starts.append(partial(jax_worker, f"{sweep} {size}", settings, env))
        measured = interleave(starts, options.rounds, say)
        device_kind = measured[0]["device_kind"]
        seconds = [summary(one["steps"]) for one in measured]
        exponent = slope([size for size, _ in found], [one["median"] for one in seconds])
        for (size, settings), one, time in zip(found, measured, seconds, strict=True):
            macs = one["macs_per_image"] * settings["batch"]
            kept = {"sweep": sweep, "size": size, "seconds": time, "macs": macs, "exponent": exponent}
            results.append(kept | {key: one[key] for key in ("compile_s", "temp_bytes", "peak_rss_bytes", "steps")})
    record = {
        "benchmark": "scaling",
        "machine": describe() | {"device_kind": device_kind},
        "settings": {**base, "rounds": options.rounds, "variants": options.variants},
        "results": results,
    }
    columns = ("sweep", "size", "median s", "min s", "max s", "exponent", "GMAC a step", "compile s")
    rows = [
        [one["sweep"], one["size"], *one["seconds"].values(), one["exponent"], one["macs"] / 1e9, one["compile_s"]]
        for one in results
    ]
    emit(options.out or RESULTS / "scaling.json", record, columns, rows)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, or 2 at bad input."""
    return run(lambda: _main(arguments))


if __name__ == "__main__":
    sys.exit(main())
