"""What the networks do on one accelerator, measured within a given time: `python -m benchmarks.gpu`.

    python -m benchmarks.gpu --released CHECKOUT --timm-python PYTHON [--seconds 560]

Training of F3 beside the released code under the same JAX and timm under torch.compile, training of F7+, F0 and F1,
forward passes at test resolutions, XLA flags one at a time, and the input pipeline. Everything is in bfloat16.
A GPU's programs take minutes to compile, most of them to try algorithms for convolutions. So the programs of a wave are
compiled side by side, and measured one after another when all are ready. What has been measured is written down at
once; when the time is over, the rest is named and left out.
"""

from __future__ import annotations

import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.driver import Measured, Worker, environment, interleave
from benchmarks.machine import describe
from benchmarks.model import FLOPS_PER_MAC, jax_worker, known_peak, torch_worker
from benchmarks.report import RESULTS, emit, parser, positive, run, say, write_json
from benchmarks.timing import ratios, summary
from nfnet.errors import UserError

__all__ = ["FLAGS", "KERNELS", "Case", "fitting_batch", "kind_of_kernel", "main", "waves"]

FLAGS = (
    "--xla_gpu_experimental_enable_fusion_autotuner=true",
    "--xla_gpu_enable_triton_gemm=false",
    "--xla_gpu_enable_latency_hiding_scheduler=true",
)
"""XLA flags that are tried, one at a time."""

KERNELS = {
    "filters": "convolutions: gradients of filters",
    "convolutions": "convolutions: values and gradients of images",
    "products": "matrix products",
    "sums": "elementwise with sums: activations' gradients, biases, statistics, norms",
    "elementwise": "elementwise",
    "transposes": "transposed copies",
    "copies": "copies",
}
# Compiling each fusion twice, for its two code generators, would take most of the time: it is one of the flags to try.
_BASE_FLAGS = "--xla_gpu_experimental_enable_fusion_autotuner=false"
_SHARE = 0.85  # of the device's memory that programs which run in turn may need together
_MEMORY = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.95"}
_NEEDS = {"ours": 1.0, "released": 1.5, "timm compile": 1.25}  # memory, relative to what we expect of ours
_LAST = 15.0  # seconds kept for writing down, and for programs to end
_MEASURING = 70.0  # seconds kept for measuring a wave whose programs are compiled


@dataclass(frozen=True)
class Case:
    """Programs that take steps in turn.

    Attributes:
        network: A variant's name.
        mode: "train" or "forward".
        resolution: Pixels.
        implementations: Names of `benchmarks.model`.
        flags: XLA flags beside those that all have.
    """

    network: str
    mode: str
    resolution: int
    implementations: tuple[str, ...] = ("ours",)
    flags: str = ""

    @property
    def title(self) -> str:
        """What it is called in lines of progress."""
        return f"{self.network} {self.mode} at {self.resolution} px{' ' * bool(self.flags)}{self.flags}"


@dataclass
class Clock:
    """How much time is left.

    Attributes:
        seconds: How long everything may take.
        started: When it began.
    """

    seconds: float
    started: float = field(default_factory=time.monotonic)

    def left(self) -> float:
        """Seconds until the end, less what is kept for writing down."""
        return self.seconds - _LAST - (time.monotonic() - self.started)


def kind_of_kernel(instruction: str, kernel: str) -> str:
    """Returns the kind of what a GPU ran, a key of `KERNELS`, given XLA's instruction and the kernel's name."""
    name = kernel.lower()
    if re.search(r"transpose|nchwtonhwc|nhwctonchw", name):
        return "transposes"
    if instruction.startswith("cudnn-conv-bw-filter"):
        return "filters"
    if instruction.startswith("cudnn-conv"):
        return "convolutions"
    if "reduce" in name and "splitk" not in name:
        return "sums"
    if re.search(r"gemm|nvjet|cutlass|xmma|splitk", name):
        return "products"
    return "copies" if re.search(r"memcpy|memset|copy", name) else "elementwise"


def waves(networks: Sequence[str], resolution: int, implementations: tuple[str, ...]) -> Iterator[list[Case]]:
    """Yields what is compiled side by side, the most important first.

    Args:
        networks: Variants; the first is compared with other implementations, the last tries the flags.
        resolution: Pixels in training.
        implementations: What the first is compared with, ours among them.
    """
    from nfnet.models.nfnet import find_variant

    first, *rest = networks
    yield [Case(first, "train", resolution, implementations), *(Case(name, "train", resolution) for name in rest[:1])]
    tested = [Case(name, "forward", find_variant(name).test_resolution or resolution) for name in networks]
    yield [*(Case(name, "train", resolution) for name in rest[1:]), *tested]
    yield [Case(networks[-1], "train", resolution, flags=flag) for flag in FLAGS]


def fitting_batch(case: Case, memory: int, largest: int, remat: bool = False) -> int:
    """Returns the batch found by doubling: the last at which the programs of a case are expected to fit together."""
    from nfnet.cost.cost import network_cost, training_bytes

    cost = network_cost(case.network, case.resolution)
    needs = sum(_NEEDS[name] for name in case.implementations)
    batch = 1
    while 2 * batch <= largest and needs * training_bytes(cost, 2 * batch, remat=remat) <= _SHARE * memory:
        batch *= 2
    return batch


def _starts(
    case: Case, settings: Mapping[str, Any], timm_python: str | None, flags: str, seconds: float
) -> Iterator[Callable[[], Worker]]:
    for name in case.implementations:
        told = {**settings, "implementation": name}
        if name == "timm compile":
            yield partial(torch_worker, str(timm_python), name, told, environment(), seconds)
        else:
            env = environment(XLA_FLAGS=f"{flags} {case.flags}".strip(), **_MEMORY)
            yield partial(jax_worker, name, told, env, seconds)


def _result(case: Case, batch: int, queued: int, one: Measured, measured: Sequence[Measured], peak: Any) -> Any:
    steps = [seconds / queued for seconds in one["steps"]]
    other = next((each for each in measured if each["name"] == "released" and each is not one), None)
    macs = next((each["macs_per_image"] for each in measured if "macs_per_image" in each), None)
    seconds = summary(steps)
    rate = None if macs is None else FLOPS_PER_MAC[case.mode] * macs * batch / seconds["median"]
    kernels = one.get("kernels")
    return {
        "network": case.network,
        "mode": case.mode,
        "resolution": case.resolution,
        "batch": batch,
        "implementation": one["name"],
        "flags": case.flags,
        "seconds": seconds,
        "images_per_s": batch / seconds["median"],
        "flops_per_s": rate,
        "utilisation": None if rate is None or not peak else rate / peak,
        "speedup": None if other is None else ratios(other["steps"], one["steps"]),
        "compile_s": one["compile_s"],
        "temp_bytes": one["temp_bytes"],
        "peak_device_bytes": one.get("peak_device_bytes"),
        "kernels_s": None if not kernels else {kind: kernels.get(kind, 0.0) / queued for kind in KERNELS},
        "steps": steps,
    }


def _ready(future: Future[Worker], record: dict[str, Any], case: Case, name: str) -> Worker | None:
    try:
        worker = future.result()
    except UserError as error:
        record["unfinished"].append({"case": case.title, "implementation": name, "why": str(error)})
        say(f"{case.title}, {name}: {error}")
        return None
    say(f"{case.title}, {name}: compiled")
    return worker


def _same(worker: Worker) -> Worker:
    return worker


def _compile(
    cases: Sequence[Case], record: dict[str, Any], flags: str, clock: Clock, options: Any
) -> list[tuple[Case, int, list[Worker]]]:
    """Starts the workers of all cases side by side; returns each case with its batch and those that are ready."""
    shared = {"dtype": "bfloat16", "classes": 1000, "queued": options.queued, "released": options.released}
    with ThreadPoolExecutor(16) as pool:
        futures = []
        for case in cases:
            batch = fitting_batch(case, record["memory_bytes"], options.largest_batch)
            settings = {**shared, "network": case.network, "mode": case.mode, "resolution": case.resolution}
            settings["batch"] = batch
            starts = _starts(case, settings, options.timm_python, flags, clock.left() - _MEASURING)
            futures.append((case, batch, [pool.submit(start) for start in starts]))
        return [
            (
                case,
                batch,
                [
                    worker
                    for name, future in zip(case.implementations, row, strict=True)
                    if (worker := _ready(future, record, case, name))
                ],
            )
            for case, batch, row in futures
        ]


def _measure(ready: Sequence[tuple[Case, int, list[Worker]]], record: dict[str, Any], options: Any, path: Path) -> None:
    """Lets each case's workers take steps in turn, one case after the other, and writes down what was measured."""
    peak = record["peak_flops_per_s"]["stated"] or record["peak_flops_per_s"]["measured"]
    with ExitStack() as stack:
        for _, _, workers in ready:
            for worker in workers:
                stack.enter_context(worker)
        for case, batch, workers in ready:
            say(f"{case.title}, batch {batch}")
            try:
                started = [partial(_same, worker) for worker in workers]
                measured = interleave(started, options.rounds, say, profiled=True)
            except UserError as error:
                record["unfinished"].append({"case": case.title, "implementation": "", "why": str(error)})
                say(str(error))
                continue
            for one in measured:
                record["machine"]["packages"] |= one.get("packages", {})
                record["results"].append(_result(case, batch, options.queued, one, measured, peak))
            write_json(path, record)


def _note_missing(cases: Sequence[Case], record: dict[str, Any]) -> None:
    """Names the cases of which nothing was measured, and why where nothing else says so."""
    measured = {(one["network"], one["mode"], one["flags"]) for one in record["results"]}
    known = {one["case"] for one in record["unfinished"]}
    for case in cases:
        if (case.network, case.mode, case.flags) not in measured and case.title not in known:
            record["unfinished"].append({"case": case.title, "implementation": "", "why": "no time left"})


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in the main thread when the seconds are over."""

    def stop(*_: object) -> None:
        raise TimeoutError

    former = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


def _pipeline(batch: int, resolution: int, workers: int) -> dict[str, Any]:
    """Images a second that the host decodes and augments, with as many processes as it has cores to spare."""
    from benchmarks.pipeline import make_jpegs, rates
    from nfnet.data.folder import image_folder

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "train"
        make_jpegs(root, 500, 375)
        found = rates(image_folder(root), size=resolution, batch=batch, rounds=8, layers=0, workers=workers, threads=1)
    return {"workers": workers, "images_per_s": len(found) / sum(1 / rate for rate in found), "spread": summary(found)}


_COLUMNS: tuple[str, ...] = (
    "network",
    "mode",
    "px",
    "batch",
    "implementation",
    "flags",
    "images/s",
    "utilisation",
    "x released",
    "low",
)
_COLUMNS += ("high", "compile s", "temp MiB", "peak MiB")


def _rows(record: Mapping[str, Any]) -> list[list[Any]]:
    rows = []
    for one in record["results"]:
        speedup = one["speedup"] or dict.fromkeys(("median", "low", "high"))
        row = [one[key] for key in ("network", "mode", "resolution", "batch", "implementation", "flags")]
        row += [one["images_per_s"], one["utilisation"], *(speedup[key] for key in ("median", "low", "high"))]
        row += [one["compile_s"], *(one[key] and one[key] / 2**20 for key in ("temp_bytes", "peak_device_bytes"))]
        rows.append(row)
    return rows


def _parser() -> Any:
    line = parser("gpu", "Measure what the networks do on one accelerator, within a given time.")
    line.add_argument("--released", type=Path, metavar="FOLDER", help="checkout that holds the released nfnets/")
    line.add_argument("--timm-python", metavar="PYTHON", help="interpreter that has torch and timm")
    line.add_argument("--networks", default="F3,F7+,F0,F1", help="in order of importance (%(default)s)")
    line.add_argument("--resolution", type=positive, default=224, help="pixels in training (%(default)s)")
    line.add_argument("--largest-batch", type=positive, default=256, help="at which doubling ends (%(default)s)")
    line.add_argument("--seconds", type=positive, default=560, help="after which it ends (%(default)s)")
    line.add_argument("--rounds", type=positive, default=8, help="of each that are kept (%(default)s)")
    line.add_argument("--queued", type=positive, default=4, help="steps in a round, without waiting (%(default)s)")
    line.add_argument("--workers", type=positive, default=12, help="processes of the input pipeline (%(default)s)")
    return line


def _main(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    clock = Clock(options.seconds)
    if options.released is not None and not (options.released / "nfnets" / "nfnet.py").is_file():
        raise UserError(f"--released {options.released} holds no nfnets/nfnet.py: pass the folder above nfnets/.")
    options.released = None if options.released is None else str(options.released.resolve())
    from nfnet.cost.cost import network_cost

    networks = options.networks.split(",")
    for name in networks:
        network_cost(name, options.resolution)  # names an unknown variant before any worker starts
    implementations = ("ours", *(("released",) if options.released else ()))
    implementations += ("timm compile",) if options.timm_python else ()
    matmul = {"implementation": "matmul", "dtype": "bfloat16"}
    (product,) = interleave([partial(jax_worker, "matmul", matmul, environment(**_MEMORY), clock.left())], 8, say)
    if product["platform"] == "cpu":
        raise UserError("JAX sees no accelerator: install its plugin, or measure CPUs by `python -m benchmarks.model`.")
    name = re.sub(r"\W+", "_", product["device_kind"].removeprefix("NVIDIA ")).lower()
    path = options.out or RESULTS / f"gpu_{name}.json"
    record: dict[str, Any] = {
        "benchmark": "gpu",
        "machine": describe({"XLA_FLAGS": _BASE_FLAGS}) | {"device_kind": product["device_kind"]},
        "settings": {"dtype": "bfloat16", "queued": options.queued, "rounds": options.rounds},
        "memory_bytes": product["memory_bytes"],
        "peak_flops_per_s": {
            "measured": 2 * product["side"] ** 3 / min(product["steps"]),
            "side": product["side"],
            "stated": known_peak(product["device_kind"]),
        },
        "results": [],
        "unfinished": [],
        "pipeline": None,
    }
    with tempfile.TemporaryDirectory() as algorithms:  # that one program found are known to the next
        flags = f"{_BASE_FLAGS} --xla_gpu_per_fusion_autotune_cache_dir={algorithms}"
        for cases in waves(networks, options.resolution, implementations):
            if clock.left() > _MEASURING:
                ready = _compile(cases, record, flags, clock, options)
                with suppress(TimeoutError), _limited(clock.left()):
                    _measure(ready, record, options, path)
            _note_missing(cases, record)
    try:
        with _limited(clock.left()):
            record["pipeline"] = _pipeline(64, options.resolution, options.workers)
    except TimeoutError:
        record["unfinished"].append({"case": "input pipeline", "implementation": "", "why": "no time left"})
    emit(path, record, _COLUMNS, _rows(record))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, or 2 at bad input."""
    return run(lambda: _main(arguments))


if __name__ == "__main__":
    sys.exit(main())
