"""The input pipeline: which example stands where in which batch, and iterators over those batches.

The order of a run is a pure function of (seed, number of examples, epochs, batch size, repeats): batch b can
be made without making batch b - 1. The state of an iterator is therefore one number, the next batch, together
with the description of that function; it is stored in every checkpoint. A run that is killed and resumed, on
any number of hosts and worker processes, sees every example exactly as often as one that is not, which Smith
et al. 2023 suspect their own pipeline did not.
"""

from __future__ import annotations

import functools
import logging
import math
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypedDict

import grain
import numpy as np
from absl import flags
from jaxtyping import Bool, Float32, Int32, Int64, UInt8

from nfnet.data.augment import Augmentation, evaluation_image, train_image
from nfnet.data.source import Source, UnreadableExampleError
from nfnet.errors import UserError, printable
from nfnet.ranges import check_fields

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


@dataclass(frozen=True)
class Reading:
    """Which share of each batch is read, and how.

    Attributes:
        host: index of this host.
        hosts: how many share each batch.
        workers: decoding processes on this host; 0 decodes in threads of this process.
        threads: decoding threads of each process.
        unreadable: "skip" gives an image that cannot be decoded no weight; "fatal" stops at it.
    """

    host: int = 0
    hosts: int = 1
    workers: int = 0
    threads: int = 2
    unreadable: Literal["skip", "fatal"] = "skip"

    def __post_init__(self) -> None:
        check_fields(self, "data.")


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


def _finish(example: dict[str, Any], image: np.ndarray) -> dict[str, Any]:
    return {
        "image": image,
        "label": np.int32(example["label"]),
        "weight": np.float32(0.0 if example["unreadable"] else example["weight"]),
        "index": np.int64(example["index"]),
        "unreadable": np.bool_(example["unreadable"] and example["weight"]),  # padding counts nowhere
    }


def _train(augmentation: Augmentation, example: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return _finish(example, train_image(example["image"], augmentation, rng))


def _evaluate(size: int, margin: int, example: dict[str, Any]) -> dict[str, Any]:
    return _finish(example, evaluation_image(example["image"], size, margin))


class _Reordered(grain.MapDataset):  # type: ignore[misc]
    """As many elements as said, each from the place in `parent` that a function of its index gives."""

    def __init__(self, parent: grain.MapDataset, length: int, place: Callable[[int], int]):
        super().__init__(parent)
        self._length, self._place = length, place

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        return self.slice(index) if isinstance(index, slice) else self._parent[self._place(index)]


def _weigh(images: int, index: int, example: dict[str, Any]) -> dict[str, Any]:
    return {**example, "weight": float(index < images)}


def _slots(examples: grain.MapDataset, schedule: Schedule) -> grain.MapDataset:
    """Returns all slots of all batches, in order; the slots past the last image are weightless."""
    slots = _Reordered(examples, schedule.steps * schedule.batch_size, schedule.draw)
    return slots.map_with_index(functools.partial(_weigh, schedule.images))


def _host_slot(batch_size: int, share: int, host: int, index: int) -> int:
    """Returns the slot of a host's element: of every batch it has one of equal runs of positions."""
    batch, position = divmod(index, share)
    return batch * batch_size + host * share + position


def _ignore_interrupt(worker: int, workers: int) -> None:
    """Leaves Ctrl-C to the main process, which saves before it exits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _batches(slots: grain.MapDataset, batch_size: int, start: int, reading: Reading) -> Iterator[Batch]:
    if batch_size % reading.hosts:
        raise UserError(f"The batch size {batch_size} is no multiple of the {reading.hosts} hosts: change it.")
    share, threads = batch_size // reading.hosts, reading.threads
    place = functools.partial(_host_slot, batch_size, share, reading.host)
    mine = _Reordered(slots, len(slots) // batch_size * share, place)
    if start * share >= len(mine):
        return iter(())
    dataset = (
        mine.slice(slice(start * share, None))
        .batch(share)
        .to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * max(threads, 1)))
    )
    if reading.workers:
        # Grain's workers read absl flags, which only absl's own `app.run` would have parsed.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        options = grain.MultiprocessingOptions(num_workers=reading.workers, per_worker_buffer_size=2)
        return _watched(iter(dataset.mp_prefetch(options, worker_init_fn=_ignore_interrupt)))
    return iter(dataset)


class WorkerDiedError(UserError):
    """A process that reads images ended by itself."""


def _watched(batches: Iterator[Batch]) -> Iterator[Batch]:
    try:
        yield from batches
    except RuntimeError as error:
        found = re.search(r"terminated unexpectedly with exit code (-?\d+)", str(error))
        if found is None:
            raise
        killed = ", as when memory runs out" if found[1] == "-9" else ""
        raise WorkerDiedError(
            f"A process that reads images ended with exit code {found[1]}{killed}: lower --config.data.workers, or "
            "give the machine more memory; the same command then goes on."
        ) from None


class TrainBatches(Iterator[Batch]):
    """One host's share of the batches of a run, in order, from any batch on."""

    def __init__(self, source: Source, schedule: Schedule, augmentation: Augmentation, reading: Reading | None = None):
        """Describes the batches; reading starts with the first `next`.

        Args:
            source: the training data, of `schedule.examples` examples.
            schedule: which example stands where.
            augmentation: distortion of each image.
            reading: whole batches, in this process, by default.

        Raises:
            UserError: the parts do not fit together.
        """
        if len(source) != schedule.examples:
            raise UserError(f"{source.name} has {len(source)} examples, not the {schedule.examples} of the schedule.")
        self._schedule, self._name, self._reading = schedule, source.name, reading or Reading()
        self._identity = {**asdict(schedule), "augmentation": asdict(augmentation), "source": source.identity}
        shuffled = grain.MapDataset.source(_Read(source, self._reading.unreadable == "fatal")).shuffle(
            seed=_seed(schedule.seed, "order")
        )
        self._slots = _slots(shuffled, schedule).random_map(
            functools.partial(_train, augmentation), seed=_seed(schedule.seed, "augmentation")
        )
        self._next = 0
        self._iterator: Iterator[Batch] | None = None

    def __next__(self) -> Batch:
        if self._iterator is None:
            self._iterator = _batches(self._slots, self._schedule.batch_size, self._next, self._reading)
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
            former = stored.get(key)
            if key == "source" and not str(former).startswith("sha256:"):
                ours = self._name  # which stood for the data in early checkpoints
            if former != ours:
                what = f"{key} (names and labels of {self._name})" if key == "source" else key
                raise UserError(
                    f"The checkpoint was made with data {what} {printable(repr(former))} and the run has {ours!r}: "
                    "examples would be seen twice or never; go back to that setting or start in an empty --workdir."
                )
        self.close()
        self._next = start

    def close(self) -> None:
        """Stops worker processes and threads; the next batch starts them again."""
        if self._iterator is not None and hasattr(self._iterator, "close"):
            self._iterator.close()
        self._iterator = None


def evaluation_batches(
    source: Source, batch_size: int, size: int, margin: int = 32, reading: Reading | None = None
) -> Iterator[Batch]:
    """Iterates once over a held-out split, in order; the last batch is padded with weightless examples.

    Args:
        source: the held-out data.
        batch_size: of all hosts together.
        size: height and width of the images, in pixels.
        margin: pixels cut away on both sides together, see `nfnet.data.augment.evaluation_image`.
        reading: whole batches, in this process, by default.
    """
    reading = reading or Reading()
    slots = _slots(
        grain.MapDataset.source(_Read(source, reading.unreadable == "fatal")), Schedule(len(source), 1.0, batch_size)
    )
    return _batches(slots.map(functools.partial(_evaluate, size, margin)), batch_size, 0, reading)
