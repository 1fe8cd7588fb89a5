import dataclasses
import json
import pickle
from collections import Counter
from itertools import islice

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfnet.data.arrays import ArraySource, arrays
from nfnet.data.augment import Augmentation
from nfnet.data.pipeline import Reading, Schedule, TrainBatches, WorkerDiedError, _watched, evaluation_batches
from nfnet.data.source import UnreadableExampleError
from nfnet.errors import UserError
from nfnet.training.config import DataConfig
from nfnet.training.evaluation import Evaluation, evaluate
from nfnet.training.sharding import make_mesh
from nfnet.training.state import EvaluationSums

PLAIN = Augmentation(4, "none", flip=False)
RANDOM = Augmentation(4, "pad", padding=1)


def source(n: int) -> ArraySource:
    images = np.arange(n * 48).reshape(n, 4, 4, 3).astype(np.uint8)
    return ArraySource(f"numbers/{n}", ("a", "b"), images, np.arange(n) % 2)


def stream(n: int, schedule: Schedule, augmentation: Augmentation = PLAIN, start: int = 0, **kwargs) -> list:
    batches = TrainBatches(source(n), schedule, augmentation, Reading(**kwargs))
    batches.set_state({**batches.get_state(), "next_batch": start})
    result = list(batches)
    batches.close()
    return result


def seen(batches: list) -> list[int]:
    """Indices of the examples that weigh, in order."""
    return [int(i) for b in batches for i, w in zip(b["index"], b["weight"], strict=True) if w]


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(1, 40), st.floats(0.1, 3.5), st.integers(1, 9), st.integers(0, 5))
def test_every_example_is_seen_equally_often(n, epochs, batch_size, seed):
    schedule = Schedule(n, epochs, batch_size, seed=seed)
    batches = stream(n, schedule, threads=0)
    assert len(batches) == schedule.steps
    indices = seen(batches)
    assert len(indices) == schedule.images == max(1, round(epochs * n))
    for epoch in range(len(indices) // n):
        assert sorted(indices[epoch * n : (epoch + 1) * n]) == list(range(n))
    counts = Counter(indices)
    assert max(counts.values()) - min(counts[i] for i in range(n)) <= 1


def test_epochs_and_seeds_differ_in_order():
    def order(seed: int) -> list[int]:
        return seen(stream(50, Schedule(50, 2, 10, seed=seed)))

    first = order(0)
    assert first == order(0)
    assert first[:50] != first[50:]
    assert order(1)[:50] not in (first[:50], first[50:])


@pytest.mark.parametrize(("hosts", "workers"), [(1, 0), (2, 0), (4, 0), pytest.param(2, 1, marks=pytest.mark.slow)])
def test_hosts_and_workers_do_not_change_the_batches(hosts, workers):
    schedule = Schedule(30, 1.7, 8, repeats=2)
    whole = stream(30, schedule, RANDOM)
    start = 3
    parts = [stream(30, schedule, RANDOM, start, host=host, hosts=hosts, workers=workers) for host in range(hosts)]
    assert len(whole) - start == len(parts[0])
    for index, batch in enumerate(whole[start:]):
        for key in batch:
            joined = np.concatenate([part[index][key] for part in parts])
            np.testing.assert_array_equal(joined, batch[key], err_msg=key)


@settings(deadline=None, derandomize=True, max_examples=15)
@given(st.lists(st.integers(0, 25), max_size=6))
def test_interrupted_streams_are_the_same(stops):
    schedule = Schedule(23, 2.3, 2)
    whole = stream(23, schedule, RANDOM, threads=0)
    result: list = []
    state = None
    for stop in [*sorted(stops), schedule.steps]:
        batches = TrainBatches(source(23), schedule, RANDOM, Reading(threads=1))
        if state is not None:
            batches.set_state(state)
        result += islice(batches, stop - len(result))
        state = batches.get_state()
        next(batches, None)  # made but never used before the interruption
        batches.close()
    assert len(result) == len(whole)
    for ours, theirs in zip(result, whole, strict=True):
        for key in theirs:
            np.testing.assert_array_equal(ours[key], theirs[key])


@pytest.mark.parametrize("repeats", [1, 2, 4])
def test_repeated_augmentation_keeps_the_cost_and_reduces_the_passes(repeats):
    schedule = Schedule(64, 2, 16, repeats)
    batches = stream(64, schedule, RANDOM)
    assert schedule.steps == 8  # whatever the multiplicity
    for batch in batches:
        assert set(Counter(batch["index"].tolist()).values()) == {repeats}
        assert (batch["index"][0::2] != batch["index"][1::2]).all()  # neighbours differ, for MixUp
    counts = Counter(seen(batches))
    drawn = 2 * 64 // repeats
    assert Counter(counts.values()) == ({2: 64} if repeats == 1 else {repeats: drawn})


def test_copies_of_an_example_are_augmented_differently():
    (batch,) = stream(4, Schedule(4, 4, 16, repeats=4), RANDOM)
    copies = [batch["image"][i].tobytes() for i in np.flatnonzero(batch["index"] == batch["index"][0])]
    assert len(set(copies)) > 1


def test_jft_fits():
    schedule = Schedule(4_000_000_000, 8, 4096)
    assert schedule.steps == 7_812_500
    last = schedule.steps * schedule.batch_size - 1
    assert schedule.draw(last) == last

    class Huge(ArraySource):
        def __len__(self) -> int:
            return 4_000_000_000

        def __getitem__(self, index: int):
            return {"image": np.zeros((4, 4, 3), np.uint8), "label": index % 2}

    huge = Huge("huge", ("a", "b"), np.zeros((0, 4, 4, 3), np.uint8), np.zeros(0, int))
    batches = TrainBatches(huge, schedule, PLAIN)
    batches.set_state({**batches.get_state(), "next_batch": schedule.steps - 1})
    (batch,) = batches
    assert len(set(batch["index"].tolist())) == 4096
    assert batch["index"].max() > 2**31


class Unreadable(ArraySource):
    """Images of which the first of each five, or all, cannot be read."""

    every = 5

    def __getitem__(self, index: int):
        if index % self.every == 0:
            raise UnreadableExampleError(f"example {index} cannot be decoded")
        return super().__getitem__(index)


class Pointers(Unreadable):
    every = 1


def broken(n: int) -> Unreadable:
    whole = source(n)
    return Unreadable(whole.name, whole.class_names, whole.images, whole.labels)


def test_unreadable_examples_weigh_nothing_or_stop_the_run(caplog):
    schedule = Schedule(20, 1, 5)
    batches = list(TrainBatches(broken(20), schedule, PLAIN))
    assert sorted(seen(batches)) == [i for i in range(20) if i % 5]
    assert sum(int(b["unreadable"].sum()) for b in batches) == 4
    assert "example 5 cannot be decoded" in caplog.text
    with pytest.raises(UnreadableExampleError, match="cannot be decoded"):
        list(TrainBatches(broken(20), schedule, PLAIN, Reading(unreadable="fatal")))
    evaluated = list(evaluation_batches(broken(20), 8, 4, margin=0))
    assert sorted(seen(evaluated)) == [i for i in range(20) if i % 5]


@pytest.mark.parametrize("hosts", [1, 2])
def test_evaluation_sees_each_example_once_in_order(hosts):
    parts = [list(evaluation_batches(source(21), 8, 4, 0, Reading(h, hosts))) for h in range(hosts)]
    assert {len(part) for part in parts} == {3}
    assert sorted(i for part in parts for i in seen(part)) == list(range(21))
    if hosts == 1:
        assert seen(parts[0]) == list(range(21))
    np.testing.assert_array_equal(parts[0][0]["image"][1], source(21).images[1])


def test_foreign_states_are_refused():
    schedule = Schedule(20, 1, 5)
    state = TrainBatches(source(20), schedule, PLAIN).get_state()
    for other in (
        TrainBatches(source(21), Schedule(21, 1, 5), PLAIN),
        TrainBatches(source(20), Schedule(20, 1, 5, seed=1), PLAIN),
        TrainBatches(source(20), Schedule(20, 2, 5), PLAIN),
        TrainBatches(source(20), schedule, RANDOM),
    ):
        with pytest.raises(UserError, match="seen twice or never"):
            other.set_state(state)


def test_states_belong_to_the_data_and_not_to_its_name():
    schedule, data = Schedule(20, 1, 5), source(20)
    state = json.loads(json.dumps(TrainBatches(data, schedule, PLAIN).get_state()))
    moved = ArraySource("elsewhere", data.class_names, data.images, data.labels)
    TrainBatches(moved, schedule, PLAIN).set_state({**state, "next_batch": 2})
    for classes, images, labels in (
        (("a", "c"), data.images, data.labels),
        (data.class_names, data.images + 1, data.labels),
        (data.class_names, data.images, data.labels[::-1]),
    ):
        changed = ArraySource(data.name, classes, images, labels)
        with pytest.raises(UserError, match=r"data source \(names and labels of numbers/20\) 'sha256:\w+' and"):
            TrainBatches(changed, schedule, PLAIN).set_state(state)


def test_states_of_early_checkpoints_name_the_data():
    schedule = Schedule(20, 1, 5)
    batches = TrainBatches(source(20), schedule, PLAIN)
    state = batches.get_state()
    batches.set_state({"next_batch": 2, "order": {**state["order"], "source": "numbers/20"}})
    assert batches.next_batch == 2
    with pytest.raises(UserError, match=r"data source .* 'numbers/21' and the run has 'numbers/20'"):
        batches.set_state({"next_batch": 2, "order": {**state["order"], "source": "numbers/21"}})


def count_images(params, sums, batch):
    weight = batch["weight"].sum()
    return EvaluationSums(sums.loss + 2 * weight, sums.correct + weight, sums.weight + weight)


@pytest.mark.parametrize("x64", [False, True])
def test_an_evaluation_of_no_images_is_an_error(x64):
    def of(kind, n, **settings):
        data = DataConfig(evaluation_size=4, evaluation_margin=0, **settings)
        whole = source(n)
        split = kind("numbers/val", whole.class_names, whole.images, whole.labels)
        return evaluate({}, count_images, split, data, 8, make_mesh())

    with jax.enable_x64(x64):
        assert of(ArraySource, 20) == Evaluation(2.0, 1.0, 20, 4)
        assert of(Unreadable, 20, unreadable_share=0.2) == Evaluation(2.0, 1.0, 16, 4)
        for split, n, settings, said in (
            (Unreadable, 20, {}, r"4 of the 20 images of numbers/val could not be read, more than the share of 0.1"),
            (Pointers, 20, {"unreadable_share": 1.0}, "none of the 20 images of numbers/val could be read"),
            (ArraySource, 0, {}, "numbers/val has no images"),
        ):
            with pytest.raises(UserError, match=said):
                of(split, n, **settings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": float("nan")}, "epochs is nan"),
        ({"repeats": 3}, "no positive multiple of the 3 repeats"),
        ({"examples": 0}, "1 to 2\\^32 examples"),
    ],
)
def test_bad_schedules_are_told(arguments, message):
    with pytest.raises(UserError, match=message):
        Schedule(**{"examples": 20, "epochs": 1, "batch_size": 4, **arguments})


def test_bad_shares_are_told():
    with pytest.raises(UserError, match="no multiple of the 3 hosts"):
        next(TrainBatches(source(20), Schedule(20, 1, 4), PLAIN, Reading(hosts=3)))
    with pytest.raises(UserError, match=r"data.unreadable.*'skip'"):
        Reading(unreadable="skp")
    with pytest.raises(UserError, match="has 20 examples, not the 21"):
        TrainBatches(source(20), Schedule(21, 1, 4), PLAIN)


def test_a_worker_that_died_is_one_sentence():
    def batches():
        yield 1
        raise RuntimeError("Worker process was terminated unexpectedly with exit code -9. Search the logs above.")

    watched = _watched(batches())
    assert next(watched) == 1
    with pytest.raises(WorkerDiedError, match=r"exit code -9, as when memory runs out: lower --config.data.workers"):
        next(watched)


def test_workers_map_files_and_are_not_sent_what_they_hold(tmp_path):
    images = np.arange(2000 * 8 * 8 * 3, dtype=np.uint32).astype(np.uint8).reshape(2000, 8, 8, 3)
    np.save(tmp_path / "train_images.npy", images)
    np.save(tmp_path / "train_labels.npy", np.zeros(2000, np.int32))
    (tmp_path / "classes.txt").write_text("one\n")
    source = arrays(tmp_path, "train")
    sent = pickle.dumps(source)
    assert len(sent) < images.nbytes / 10
    again = pickle.loads(sent)
    np.testing.assert_array_equal(again.images, images)
    assert again.identity == source.identity
    held = dataclasses.replace(source, images=source.images[1:], labels=source.labels[1:])  # a part is no whole file
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(held)).images, images[1:])
