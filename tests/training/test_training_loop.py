import dataclasses
import json
import os
import shutil
import signal
import threading
from collections import Counter

import jax
import numpy as np
import pytest
from support.tiny_runs import same, tiny

from nfnet.errors import UserError
from nfnet.training import loop
from nfnet.training.checkpoint import load_parameters
from nfnet.training.environment import StopSignals, locked
from nfnet.training.loop import train
from nfnet.training.run_log import read_run_log

pytestmark = pytest.mark.usefixtures("cached")
STEPS = 23  # 1,437 digits in batches of 64


class Killed(Exception):
    """Stands for a crash."""


class Recorder:
    """Notes which examples are trained on, by step, and kills the run where told to."""

    def __init__(self, kill_before: int | None = None):
        self.by_step: dict[int, list[int]] = {}
        self._kill_before = kill_before

    def __call__(self, step, batch) -> None:
        if step == self._kill_before:
            raise Killed
        self.by_step[step] = [int(i) for i, w in zip(batch["index"], batch["weight"], strict=True) if w]

    def multiset(self) -> Counter:
        return Counter(i for indices in self.by_step.values() for i in indices)


def final(workdir) -> dict:
    loaded = {average: load_parameters(workdir / "checkpoints", average=average) for average in (True, False)}
    assert loaded[True].averaged
    return {str(key): value.params for key, value in loaded.items()}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, compilation_cache):
    workdir = tmp_path_factory.mktemp("uninterrupted")
    recorder = Recorder()
    outcome = train(tiny(), workdir, on_batch=recorder, visible=False)
    return workdir, recorder, outcome


def test_a_run_learns_and_logs(uninterrupted):
    workdir, recorder, outcome = uninterrupted
    assert (outcome.reason, outcome.step, outcome.report()) == ("finished", STEPS, 0)
    assert recorder.multiset() == Counter(range(1437))
    log = read_run_log(workdir / "log.jsonl")
    assert log.finished
    assert [m.step for m in log.metrics] == [5, 10, 15, 20, 23]
    last = log.metrics[-1]
    assert (last.examples, last.epochs) == (1437, 1.0)
    assert last.held_out_loss == outcome.evaluation.loss
    assert outcome.evaluation.examples == 360
    assert last.train_loss < log.metrics[0].train_loss - 0.02
    assert last.flops == 1437 * 6 * log.header.macs
    assert last.learning_rate < 0.01 < log.metrics[0].learning_rate
    assert last.core_seconds > 0
    assert log.header.parameters == sum(x.size for x in jax.tree.leaves(load_parameters(workdir).params))
    assert log.header.config["training"]["epochs"] == 1.0


def test_ten_kills_change_nothing(uninterrupted, tmp_path):
    """Kills at ten random points: the same examples and, bit for bit, the same parameters."""
    workdir, whole, _ = uninterrupted
    rng = np.random.default_rng(0)
    done: dict[int, list[int]] = {}
    kills = sorted(rng.choice(np.arange(1, STEPS), 10, replace=False))
    for kill in kills:
        recorder = Recorder(kill_before=int(kill))
        with pytest.raises(Killed):
            train(tiny(), tmp_path, on_batch=recorder, visible=False)
        done.update(recorder.by_step)
    recorder = Recorder()
    outcome = train(tiny(), tmp_path, on_batch=recorder, visible=False)
    assert outcome.reason == "finished"
    assert min(recorder.by_step) > 0  # it was resumed, not started again
    done.update(recorder.by_step)
    assert done == whole.by_step
    assert same(final(tmp_path), final(workdir))
    log = read_run_log(tmp_path / "log.jsonl")
    expected = read_run_log(workdir / "log.jsonl")
    assert len(log.resumes) >= 5
    assert [(m.step, m.train_loss) for m in log.metrics] == [(m.step, m.train_loss) for m in expected.metrics]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_stop(uninterrupted, tmp_path, number):
    def stop(step, batch) -> None:
        if step == 7:
            os.kill(os.getpid(), number)

    outcome = train(tiny(), tmp_path, on_batch=stop, visible=False)
    assert (outcome.reason, outcome.step) == (number.name, 8)
    assert outcome.report() == 128 + number
    assert read_run_log(tmp_path / "log.jsonl").end == number.name
    assert train(tiny(), tmp_path, visible=False).reason == "finished"
    assert same(final(tmp_path), final(uninterrupted[0]))


@pytest.fixture
def interruptible():
    """A process started in the background ignores SIGINT; the tests' may be one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_second_signal_is_not_held_back():
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_finished_run_is_left_alone(uninterrupted):
    workdir, _, _ = uninterrupted
    before = (workdir / "log.jsonl").read_bytes()
    outcome = train(tiny(), workdir, visible=False)
    assert (outcome.reason, outcome.step) == ("finished", STEPS)
    assert (workdir / "log.jsonl").read_bytes() == before


def test_other_settings_are_refused_in_the_same_folder(uninterrupted):
    workdir, _, _ = uninterrupted
    with pytest.raises(UserError, match=r"optimiser.learning_rate = 0.1, but this one has 0.2"):
        train(tiny(optimiser={"learning_rate": 0.2}), workdir, visible=False)
    assert train(tiny(training={"log_every": 7, "save_every": 3}), workdir, visible=False).step == STEPS


def test_two_processes_cannot_share_a_folder(tmp_path):
    with locked(tmp_path), pytest.raises(UserError, match="Another process trains in"):
        train(tiny(), tmp_path, visible=False)


def test_folders_that_cannot_be_used_are_told(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("file", "loop"):
        with pytest.raises(UserError, match=f"--workdir .*{name} cannot be used"), locked(tmp_path / name):
            pass
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "file")
    with locked(tmp_path / "run"):
        assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": []}, "meta/metadata: 'data' is"),
        ({"core_seconds": -1}, "meta/metadata: 'core_seconds' is -1"),
        ({"config": {"data": 3}}, "meta/metadata: 'config' is"),
        ({"data": {"order": 3}, "digest": None, "digests": None}, r"checkpoints/23: .*\('order'\)"),
    ],
)
def test_damaged_metadata_change_nothing(uninterrupted, tmp_path, changes, message):
    workdir = tmp_path / "copy"
    shutil.copytree(uninterrupted[0], workdir)
    file = workdir / "checkpoints" / str(STEPS) / "meta" / "metadata"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    before = (workdir / "log.jsonl").read_bytes()
    with pytest.raises(UserError, match=message):
        train(tiny(), workdir, visible=False)
    assert (workdir / "log.jsonl").read_bytes() == before


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    broken = tiny(
        optimiser={"learning_rate": 1000.0, "weight_decay": 1000.0, "warmup_steps": 8}, training={"save_every": 1}
    )
    with pytest.raises(UserError, match=r"not finite at step \d+ .*the checkpoint of step \d+ is the last good"):
        train(broken, tmp_path, visible=False)
    log = read_run_log(tmp_path / "log.jsonl")
    assert log.end == "diverged"
    params = load_parameters(tmp_path / "checkpoints", average=False).params
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


def test_fractions_of_an_epoch_and_repeats(tmp_path):
    recorder = Recorder()
    config = tiny(training={"epochs": 0.25}, data={"repeats": 4})
    outcome = train(config, tmp_path, on_batch=recorder, visible=False)
    assert outcome.step == 6  # 359 images
    counts = recorder.multiset()
    assert sum(counts.values()) == 359
    assert len(counts) == pytest.approx(359 / 4, abs=12)  # the last batch is not full


def test_the_best_is_kept_and_tensorboard_written(tmp_path, monkeypatch):
    losses = iter([3.0, 1.0, 2.0])
    real = loop.evaluate

    def scripted(*args, **kwargs):
        return dataclasses.replace(real(*args, **kwargs), loss=next(losses))

    monkeypatch.setattr(loop, "evaluate", scripted)
    train(tiny(training={"evaluate_every": 8, "tensorboard": True}), tmp_path, visible=False)
    assert [p.name for p in (tmp_path / "best").iterdir()] == ["16"]
    assert load_parameters(tmp_path).meta["held_out_loss"] == 1.0
    assert [p.stat().st_size > 500 for p in (tmp_path / "tensorboard").iterdir()] == [True]


def test_progress_is_lines_off_a_terminal(tmp_path, capsys):
    train(tiny(), tmp_path)
    err = capsys.readouterr().err
    assert "23 steps on 1 x" in err
    assert "step 5/23: epoch 0.22, loss " in err
    assert "held-out loss" in err


def test_signals_are_left_alone_in_threads():
    results = []

    def target() -> None:
        with StopSignals() as signals:
            results.append(signals.received)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    assert results == [None]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimiser": {"warmup_steps": 30}}, "warm-up takes 30 of only 23 steps"),
        ({"optimiser": {"name": "sdg"}}, r"optimiser.name 'sdg'.*'sgd'"),
        ({"model": {"family": "vgg"}}, r"model.family 'vgg'"),
        ({"model": {"num_classes": 7}}, "has 10 classes but the model has 7"),
        ({"model": {"shape": {"widht": 3}}}, r"'widht'.*'width'"),
        ({"training": {"log_every": 0}}, "log_every is 0, but must be a whole number from 1"),
        ({"data": {"source": "image_folder"}}, "needs a folder"),
        ({"data": {"image_size": 9}}, "multiple of the patch"),
        ({"data": {"evaluation_size": 16}}, "does not fit 16 px"),
    ],
)
def test_bad_settings_leave_nothing_behind(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        train(tiny(**changes), tmp_path / "run", visible=False)
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_a_run_killed_after_its_last_checkpoint_is_finished(uninterrupted, tmp_path):
    workdir = tmp_path / "copy"
    shutil.copytree(uninterrupted[0], workdir)
    log = workdir / "log.jsonl"
    for lines in (-1, None):  # without the last line, then with half of it
        whole = (uninterrupted[0] / "log.jsonl").read_bytes()
        log.write_bytes(b"".join(whole.splitlines(True)[:lines]) if lines else whole[:-7])
        assert train(tiny(), workdir, visible=False).reason == "finished"
        assert read_run_log(log).finished
        assert read_run_log(log).held_out_loss == read_run_log(uninterrupted[0] / "log.jsonl").held_out_loss
