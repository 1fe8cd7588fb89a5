"""Images a second that the input pipeline decodes and augments, beside what a training step consumes.

python -m benchmarks.pipeline --variant F0 --resolution 192
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.driver import environment, interleave
from benchmarks.machine import describe
from benchmarks.model import MICRO, jax_worker
from benchmarks.report import RESULTS, emit, parser, positive, run, say
from benchmarks.timing import summary

if TYPE_CHECKING:
    from nfnet.data.source import Source

__all__ = ["main", "make_jpegs", "rates"]

_IMAGES, _CLASSES = 64, 2


def make_jpegs(root: Path, width: int, height: int) -> None:
    """Writes smooth noise, which compresses about as photographs do, as JPEGs in one folder a class."""
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(0)
    for number in range(_IMAGES):
        folder = root / f"class{number % _CLASSES}"
        folder.mkdir(parents=True, exist_ok=True)
        coarse = generator.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number}.jpg", quality=90)


def rates(
    source: Source, *, size: int, batch: int, rounds: int, layers: int, workers: int, threads: int
) -> list[float]:
    """Returns images a second, batch by batch after two that fill the buffers."""
    from nfnet.data.augment import Augmentation
    from nfnet.data.pipeline import Reading, Schedule, TrainBatches

    epochs = (rounds + 2) * batch / len(source)
    augmentation = Augmentation(size, randaugment_layers=layers, randaugment_magnitude=5.0 if layers else 0.0)
    reading = Reading(workers=workers, threads=threads)
    batches = TrainBatches(source, Schedule(len(source), epochs, batch), augmentation, reading)
    try:
        for _ in range(2):
            next(batches)
        found = []
        for _ in range(rounds):
            start = time.perf_counter()
            next(batches)
            found.append(batch / (time.perf_counter() - start))
        return found
    finally:
        batches.close()


def _main(arguments: Sequence[str] | None) -> int:
    line = parser("pipeline", "Measure decoding and augmentation beside what a training step consumes.")
    line.add_argument("--variant", default="F0", help="network whose step is fed (%(default)s)")
    line.add_argument("--micro", action="store_true", help="feed the small network of benchmarks.model instead")
    line.add_argument("--resolution", type=positive, default=192, help="pixels of a training image (%(default)s)")
    line.add_argument("--batch", type=positive, default=8, help="images a step (%(default)s)")
    line.add_argument("--workers", type=int, default=2, help="decoding processes in the last case (%(default)s)")
    line.add_argument("--rounds", type=positive, default=10, help="batches and steps that are kept (%(default)s)")
    options = line.parse_args(arguments)
    import numpy as np

    from nfnet.cost.cost import network_cost
    from nfnet.data.arrays import ArraySource
    from nfnet.data.folder import image_folder

    if not options.micro:
        network_cost(options.variant, options.resolution)
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "train"
        say(f"making {_IMAGES} JPEGs")
        make_jpegs(root, 500, 375)
        arrays = np.random.default_rng(0).integers(0, 256, (_IMAGES, 32, 32, 3), dtype=np.uint8)
        names = tuple(f"class{number}" for number in range(_CLASSES))
        sources: dict[str, Source] = {
            "JPEG, 500 x 375": image_folder(root),
            "array, 32 x 32": ArraySource("arrays", names, arrays, np.arange(_IMAGES) % _CLASSES),
        }
        cases = [(0, 1), (0, 2)] + ([(options.workers, 1)] if options.workers > 0 else [])
        for name, source in sources.items():
            for layers in (0, 2):
                for workers, threads in cases:
                    say(f"{name}, RandAugment layers {layers}, {workers} workers, {threads} threads")
                    sizes = {"size": options.resolution, "batch": options.batch, "rounds": options.rounds}
                    found = rates(source, layers=layers, workers=workers, threads=threads, **sizes)
                    case = {"source": name, "randaugment_layers": layers, "workers": workers, "threads": threads}
                    # The time of all batches counts: buffers make single ones look fast.
                    mean = len(found) / sum(1 / rate for rate in found)
                    results.append({**case, "images_per_s": mean, "spread": summary(found)})
    network = MICRO if options.micro else options.variant
    settings = {"implementation": "ours", "mode": "train", "network": network, "classes": 10 if options.micro else 1000}
    settings |= {"resolution": options.resolution, "batch": options.batch, "dtype": "float32"}
    (step,) = interleave([partial(jax_worker, "training step", settings, environment())], options.rounds, say)
    consumed = options.batch / summary(step["steps"])["median"]
    for one in results:
        one["times_consumption"] = one["images_per_s"] / consumed
    record = {
        "benchmark": "pipeline",
        "machine": describe() | {"device_kind": step["device_kind"]},
        "settings": {**settings, "rounds": options.rounds},
        "step_images_per_s": consumed,
        "results": results,
    }
    columns = ("source", "RandAugment layers", "workers", "threads", "images/s", "x what the step consumes")
    rows = [[value for key, value in one.items() if key != "spread"] for one in results]
    emit(options.out or RESULTS / "pipeline.json", record, columns, rows)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, or 2 at bad input."""
    return run(lambda: _main(arguments))


if __name__ == "__main__":
    sys.exit(main())
