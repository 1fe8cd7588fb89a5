"""The input pipeline: which example stands where in which batch, and iterators over those batches.

The order of a run is a pure function of (seed, number of examples, epochs, batch size, repeats): batch b can
be made without making batch b - 1. The state of an iterator is therefore one number, the next batch, together
with the description of that function; it is stored in every checkpoint. A run that is killed and resumed, on
any number of hosts and worker processes, sees every example exactly as often as one that is not, which Smith
et al. 2023 suspect their own pipeline did not.
"""

from __future__ import annotations

import logging
import math
import signal
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

import grain
import numpy as np
from absl import flags
from jaxtyping import Bool, Float32, Int32, Int64, UInt8

from nfnet.data.augment import Augmentation, evaluation_image, train_image
from nfnet.data.sources import Source, UnreadableExampleError
from nfnet.errors import UserError, printable, unknown_name

_log = logging.getLogger(__name__)
_MAX_EXAMPLES = 2**32  # the block cipher behind grain's shuffle permutes 32-bit numbers


class Batch(TypedDict):
    """One host's share of a batch.

    Attributes:
        image: not yet normalised.
        label: class indices.
        weight: 1, or 0 for padding and unreadable examples, which count in no loss and no metric.
        index: which example of the source.
        unreadable: whether the example could not be decoded.
    """

    image: UInt8[np.ndarray, "batch height width 3"]
    label: Int32[np.ndarray, " batch"]
    weight: Float32[np.ndarray, " batch"]
    index: Int64[np.ndarray, " batch"]
    unreadable: Bool[np.ndarray, " batch"]


@dataclass(frozen=True)
class Schedule:
    """Which example stands where.

    A run processes exactly round(epochs * examples) images; the last batch is padded with weightless ones.
    With repeated augmentation (Hoffer et al. 2019; Fort et al. 2021) each batch holds batch_size / repeats
    different examples, `repeats` augmented copies of each. Batches and steps stay the same, hence the cost
    too: the passes over the data are reduced instead, to epochs / repeats.

    Attributes:
        examples: number of examples in the source.
        epochs: images to process, in units of `examples`; fractions are fine.
        batch_size: of all hosts together.
        repeats: augmented copies of an example in a batch.
        seed: of the order and of the augmentation.
    """

    examples: int
    epochs: float
    batch_size: int
    repeats: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.examples <= _MAX_EXAMPLES:
            raise UserError(f"A source needs 1 to 2^32 examples, not {self.examples}.")
        if self.epochs <= 0 or not math.isfinite(self.epochs):
            raise UserError(f"epochs is {self.epochs}: give a positive number; fractions such as 0.25 are fine.")
        if self.batch_size <= 0 or self.repeats <= 0 or self.batch_size % self.repeats:
            raise UserError(
                f"The batch size {self.batch_size} is no positive multiple of the {self.repeats} repeats: change one."
            )

    @property
    def images(self) -> int:
        """Augmented images processed in the whole run."""
        return max(1, round(self.epochs * self.examples))

    @property
    def steps(self) -> int:
        """Batches in the whole run."""
        return math.ceil(self.images / self.batch_size)

    def draw(self, slot: int) -> int:
        """Returns which draw from the shuffled stream fills a slot.

        Copies stand batch_size / repeats apart, so that neighbours are different examples (MixUp pairs
        neighbours).

        Args:
            slot: batch number times batch size plus position in the batch.
        """
        batch, position = divmod(slot, self.batch_size)
        distinct = self.batch_size // self.repeats
        return batch * distinct + position % distinct


def _seed(seed: int, purpose: str) -> int:
    """Derives independent seeds, so that run 1's first epoch is not run 0's second."""
    entropy = [seed, *purpose.encode()]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


@dataclass(frozen=True)
class _Read:
    """Reads an example with its index; keeps going at an unreadable one unless that is fatal."""

    source: Source
    fatal: bool

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            return {**self.source[int(index)], "index": int(index), "unreadable": False}
        except UnreadableExampleError as error:
            if self.fatal:
                raise
            _log.warning("skipped: %s", error)
            return {
                "image": np.zeros((1, 1, 3), np.uint8),
                "label": 0,
                "index": int(index),
                "unreadable": True,
            }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.source.name})"


def _finish(example: dict[str, Any], image: np.ndarray, weight: float) -> dict[str, Any]:
    return {
        "image": image,
        "label": np.int32(example["label"]),
        "weight": np.float32(0.0 if example["unreadable"] else weight),
        "index": np.int64(example["index"]),
        "unreadable": np.bool_(example["unreadable"]),
    }


@dataclass(frozen=True)
class _Train:
    augmentation: Augmentation

    def __call__(self, example: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        image = train_image(example["image"], self.augmentation, rng)
        return _finish(example, image, example["weight"])


@dataclass(frozen=True)
class _Evaluate:
    size: int
    margin: int

    def __call__(self, example: dict[str, Any]) -> dict[str, Any]:
        image = evaluation_image(example["image"], self.size, self.margin)
        return _finish(example, image, example["weight"])


class _Slots(grain.MapDataset):  # type: ignore[misc]
    """All slots of all batches, in order; the slots past the last image are weightless."""

    def __init__(self, parent: grain.MapDataset, schedule: Schedule):
        super().__init__(parent)
        self._schedule = schedule

    def __len__(self) -> int:
        return self._schedule.steps * self._schedule.batch_size

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        example = self._parent[self._schedule.draw(index)]
        return {**example, "weight": float(index < self._schedule.images)}


class _HostShare(grain.MapDataset):  # type: ignore[misc]
    """The slots of one host: of every batch, the `host`-th of `hosts` equal runs of positions."""

    def __init__(self, parent: grain.MapDataset, batch_size: int, host: int, hosts: int):
        super().__init__(parent)
        self._batch_size, self._share, self._host = batch_size, batch_size // hosts, host

    def __len__(self) -> int:
        return len(self._parent) // self._batch_size * self._share

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        batch, position = divmod(index, self._share)
        return self._parent[batch * self._batch_size + self._host * self._share + position]


def _ignore_interrupt(worker: int, workers: int) -> None:
    """Leaves Ctrl-C to the main process, which saves before it exits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _batches(
    slots: grain.MapDataset, batch_size: int, start: int, *, host: int, hosts: int, workers: int, threads: int
) -> Iterator[Batch]:
    if batch_size % hosts:
        raise UserError(f"The batch size {batch_size} is no multiple of the {hosts} hosts: change it.")
    share = batch_size // hosts
    mine = _HostShare(slots, batch_size, host, hosts)
    if start * share >= len(mine):
        return iter(())
    dataset = (
        mine.slice(slice(start * share, None))
        .batch(share)
        .to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * max(threads, 1)))
    )
    if workers:
        # Grain's workers read absl flags, which only absl's own `app.run` would have parsed.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
        dataset = dataset.mp_prefetch(options, worker_init_fn=_ignore_interrupt)
    return iter(dataset)


class TrainBatches(Iterator[Batch]):
    """One host's share of the batches of a run, in order, from any batch on."""

    def __init__(
        self,
        source: Source,
        schedule: Schedule,
        augmentation: Augmentation,
        *,
        host: int = 0,
        hosts: int = 1,
        workers: int = 0,
        threads: int = 2,
        unreadable: str = "skip",
    ):
        """Describes the batches; reading starts with the first `next`.

        Args:
            source: the training data, of `schedule.examples` examples.
            schedule: which example stands where.
            augmentation: distortion of each image.
            host: index of this host.
            hosts: how many share each batch.
            workers: decoding processes on this host; 0 decodes in threads of this process.
            threads: decoding threads of each process.
            unreadable: "skip" gives an image that cannot be decoded no weight; "fatal" stops at it.

        Raises:
            UserError: the parts do not fit together.
        """
        if unreadable not in ("skip", "fatal"):
            raise unknown_name("data.unreadable", unreadable, ("skip", "fatal"))
        if len(source) != schedule.examples:
            raise UserError(f"{source.name} has {len(source)} examples, not the {schedule.examples} of the schedule.")
        self._schedule = schedule
        self._identity = {"source": source.name, **asdict(schedule), "augmentation": asdict(augmentation)}
        shuffled = grain.MapDataset.source(_Read(source, unreadable == "fatal")).shuffle(
            seed=_seed(schedule.seed, "order")
        )
        self._slots = _Slots(shuffled, schedule).random_map(
            _Train(augmentation), seed=_seed(schedule.seed, "augmentation")
        )
        self._sharding = {"host": host, "hosts": hosts, "workers": workers, "threads": threads}
        self._next = 0
        self._iterator: Iterator[Batch] | None = None

    def __next__(self) -> Batch:
        if self._iterator is None:
            self._iterator = _batches(self._slots, self._schedule.batch_size, self._next, **self._sharding)
        batch = next(self._iterator)
        self._next += 1
        return batch

    def get_state(self) -> dict[str, Any]:
        """Returns the state to store in a checkpoint: JSON-compatible, the same on every host."""
        return {"next_batch": self._next, "order": self._identity}

    @property
    def next_batch(self) -> int:
        """The number of the batch that `next` returns."""
        return self._next

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes to a stored state.

        Raises:
            UserError: the state belongs to other data or to another order, or it is damaged.
        """
        stored, start = state.get("order"), state.get("next_batch")
        if not isinstance(stored, dict):
            raise UserError("The checkpoint does not say in which order its data came ('order'): pass another one.")
        if type(start) is not int or not 0 <= start <= self._schedule.steps:
            raise UserError(
                f"The checkpoint goes on with batch {printable(repr(start), 60)} ('next_batch'), but the run has the "
                f"batches 0 to {self._schedule.steps}: pass another one."
            )
        for key, ours in self._identity.items():
            if stored.get(key) != ours:
                raise UserError(
                    f"The checkpoint was made with data {key} {printable(repr(stored.get(key)))} and the run has "
                    f"{ours!r}: examples would be seen twice or never; go back to that setting or start in an empty "
                    "--workdir."
                )
        self.close()
        self._next = start

    def close(self) -> None:
        """Stops worker processes and threads; the next batch starts them again."""
        if self._iterator is not None and hasattr(self._iterator, "close"):
            self._iterator.close()
        self._iterator = None


def evaluation_batches(
    source: Source,
    batch_size: int,
    size: int,
    *,
    margin: int = 32,
    host: int = 0,
    hosts: int = 1,
    workers: int = 0,
    threads: int = 2,
    unreadable: str = "skip",
) -> Iterator[Batch]:
    """Iterates once over a held-out split, in order; the last batch is padded with weightless examples.

    Args:
        source: the held-out data.
        batch_size: of all hosts together.
        size: height and width of the images, in pixels.
        margin: pixels cut away on both sides together, see `nfnet.data.augment.evaluation_image`.
        host: index of this host.
        hosts: how many share each batch.
        workers: decoding processes on this host; 0 decodes in threads of this process.
        threads: decoding threads of each process.
        unreadable: "skip" or "fatal".
    """
    schedule = Schedule(len(source), 1.0, batch_size)
    slots = _Slots(grain.MapDataset.source(_Read(source, unreadable == "fatal")), schedule)
    return _batches(
        slots.map(_Evaluate(size, margin)),
        batch_size,
        0,
        host=host,
        hosts=hosts,
        workers=workers,
        threads=threads,
    )
