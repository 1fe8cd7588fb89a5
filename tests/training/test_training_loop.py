import dataclasses
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from support.tiny_runs import ROOT, same, start, tiny, write_config

from nfnet import train as command
from nfnet.data.pipeline import WorkerDiedError
from nfnet.errors import UserError
from nfnet.training import loop
from nfnet.training.checkpoint import load_parameters
from nfnet.training.environment import StopSignals, cores_per_device, locked
from nfnet.training.loop import train
from nfnet.training.network import make_network
from nfnet.training.run import assemble
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


@pytest.mark.parametrize("number", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_kills_change_nothing(uninterrupted, tmp_path, number):
    """Kills at random points: the same examples and, bit for bit, the same parameters."""
    workdir, whole, _ = uninterrupted
    rng = np.random.default_rng(0)
    done: dict[int, list[int]] = {}
    points = np.arange(1 if number > 2 else STEPS // 2, STEPS)  # a few kills have to come after a checkpoint
    kills = sorted(rng.choice(points, number, replace=False))
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
    assert len(log.resumes) >= number // 2
    assert [(m.step, m.train_loss) for m in log.metrics] == [(m.step, m.train_loss) for m in expected.metrics]


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
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


def test_a_dead_reader_of_images_saves_and_is_told(uninterrupted, tmp_path, monkeypatch):
    """The run goes on as if nothing had been: what came before the death is saved, wherever that was."""
    real = loop._next

    def dying(batches, signals):
        if batches.next_batch == 7:
            raise WorkerDiedError("A process that reads images ended with exit code -9")
        return real(batches, signals)

    monkeypatch.setattr(loop, "_next", dying)
    with pytest.raises(WorkerDiedError, match="exit code -9"):
        train(tiny(), tmp_path, visible=False)
    assert read_run_log(tmp_path / "log.jsonl").end == "unreadable"
    monkeypatch.setattr(loop, "_next", real)
    steps = []
    assert train(tiny(), tmp_path, on_batch=lambda step, _: steps.append(step), visible=False).reason == "finished"
    assert steps[0] == 7
    assert same(final(tmp_path), final(uninterrupted[0]))


def test_a_signal_that_ends_the_readers_of_an_evaluation_saves_and_stops(tmp_path, monkeypatch):
    def evaluate(*args):
        os.kill(os.getpid(), signal.SIGTERM)
        raise WorkerDiedError("A process that reads images ended with exit code -15")

    monkeypatch.setattr(loop, "evaluate", evaluate)
    outcome = train(tiny(training={"evaluate_every": 3}), tmp_path, visible=False)
    assert (outcome.reason, outcome.step) == ("SIGTERM", 3)


@pytest.fixture
def interruptible():
    """A process started in the background ignores SIGINT; the tests' may be one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_is_not_held_back(first):
    with StopSignals() as signals:
        os.kill(os.getpid(), first)
        assert signals.received == first
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_compilation_too(second):
    """A long function of C, during which Python runs no handler, stands for the compiler."""
    code = (
        # As in the foreground: what is started in the background ignores SIGINT.
        "import hashlib, signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from nfnet.training.environment import StopSignals\nwith StopSignals():\n"
        "    print('compiling', flush=True)\n    hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "compiling\n"
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)  # two of a kind that wait to be seen are one
        process.send_signal(second)
        # By the watching thread or, if Python was quick enough to see the first one, by the system.
        try:
            assert process.wait(timeout=60) in (128 + second, -second)
        finally:
            process.kill()


def test_a_finished_run_is_left_alone(uninterrupted):
    workdir, _, _ = uninterrupted
    before = (workdir / "log.jsonl").read_bytes()
    outcome = train(tiny(), workdir, visible=False)
    assert (outcome.reason, outcome.step) == ("finished", STEPS)
    assert (workdir / "log.jsonl").read_bytes() == before


def test_runs_of_earlier_versions_go_on(uninterrupted, tmp_path):
    """Their settings have `fsdp` for `shard_state`; SGD did not look ahead; later settings are absent."""
    workdir = tmp_path / "copy"
    shutil.copytree(uninterrupted[0], workdir)
    file = workdir / "checkpoints" / str(STEPS) / "meta" / "metadata"
    meta = json.loads(file.read_text())
    del meta["config"]["training"]["shard_state"], meta["config"]["optimiser"]["nesterov"], meta["digest"]
    meta["config"]["training"]["fsdp"] = 1
    file.write_text(json.dumps({**meta, "digests": None}))
    assert train(tiny(optimiser={"nesterov": False}), workdir, visible=False).step == STEPS
    with pytest.raises(UserError, match=r"optimiser.nesterov = False, but this one has True"):
        train(tiny(), workdir, visible=False)


def test_what_a_run_was_evaluated_on_belongs_to_it(uninterrupted, tmp_path):
    workdir = tmp_path / "copy"
    shutil.copytree(uninterrupted[0], workdir)
    file = workdir / "checkpoints" / str(STEPS) / "meta" / "metadata"
    meta = json.loads(file.read_text())
    assert meta["held_out"].startswith("sha256:")
    del meta["digest"]
    file.write_text(json.dumps({**meta, "held_out": "sha256:0", "digests": None}))
    with pytest.raises(UserError, match="was evaluated on other images or labels"):
        train(tiny(), workdir, visible=False)


def test_sgd_of_earlier_versions_decayed_more(uninterrupted, tmp_path):
    workdir = tmp_path / "copy"
    shutil.copytree(uninterrupted[0], workdir)
    file = workdir / "checkpoints" / str(STEPS) / "meta" / "metadata"
    meta = json.loads(file.read_text())
    meta["config"]["optimiser"] |= {"name": "sgd", "weight_decay": 0.1}
    del meta["config"]["optimiser"]["nesterov"], meta["digest"]
    file.write_text(json.dumps({**meta, "digests": None}))
    with pytest.raises(UserError, match="whose SGD decayed biases and gains too"):
        train(tiny(optimiser={"name": "sgd", "weight_decay": 0.1, "nesterov": False}), workdir, visible=False)


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
    assert load_parameters(tmp_path, best=True).meta["held_out_loss"] == 1.0
    assert [p.stat().st_size > 500 for p in (tmp_path / "tensorboard").iterdir()] == [True]


def test_progress_is_lines_off_a_terminal(tmp_path, capsys):
    train(tiny(), tmp_path)
    err = capsys.readouterr().err
    assert "23 steps on 1 x" in err
    assert err.startswith("compiling the initialisation\n")
    assert err.index("compiling the training step") < err.index("step 5/23") < err.index("compiling the evaluation")
    assert "step 5/23: epoch 0.22, loss " in err
    assert "held-out loss" in err


def test_the_first_parameters_are_one_program(tmp_path, monkeypatch):
    traced = []

    def watched(config):
        network = make_network(config)

        def init(key, images):
            traced.append(isinstance(images, jax.core.Tracer))
            return network.init(key, images)

        return dataclasses.replace(network, init=init)

    def stop(params):
        raise Killed

    monkeypatch.setattr("nfnet.training.run.make_network", watched)
    with pytest.raises(Killed):
        train(tiny(), tmp_path, initial=stop, visible=False)
    assert len(traced) > 1
    assert all(traced)


def test_core_hours_are_those_of_cores(tmp_path, monkeypatch):
    assert [cores_per_device(f"TPU {kind}") for kind in ("v2", "v3", "v4", "v4 lite", "v5p", "v5 lite")] == [
        1, 1, 2, 1, 2, 1,
    ]  # fmt: skip
    assert cores_per_device("NVIDIA H100 80GB HBM3") == 1
    assert assemble(tiny(), tmp_path).cores == 1
    monkeypatch.setattr("nfnet.training.run.cores_per_device", lambda kind: 2)
    run = assemble(tiny(), tmp_path)
    assert (run.cores, run.header().devices, run.header().cores_per_device) == (2, 1, 2)


def image_folder(folder, garbage):
    """Makes 80 images of two classes a split, every nth of which, by split, cannot be read."""
    image = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    for split, every in garbage.items():
        for index in range(80):
            path = folder / split / "ab"[index % 2] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if every and index % every == 0:
                path.write_text("version https://git-lfs.github.com/spec/v1")
            else:
                image.save(path)
    return {"source": "image_folder", "path": str(folder)}


@pytest.mark.parametrize(
    ("garbage", "message"),
    [
        ({"train": 1, "test": 0}, "none of the 64 images of a batch of .*train"),
        ({"train": 5, "test": 0}, "16 of the 80 images of .*train.* could not be read, more than the share of 0.1"),
        ({"train": 0, "test": 1}, "none of the 80 images of .*test"),
        pytest.param({"train": 0, "test": 5}, "16 of the 80 images of .*test", marks=pytest.mark.slow),
    ],
)
def test_nothing_is_computed_from_no_data(tmp_path, capsys, garbage, message):
    data = image_folder(tmp_path / "images", garbage)
    config = tiny(model={"num_classes": 2}, data=data, optimiser={"warmup_steps": 1}, training={"log_every": 1})
    file = write_config(tmp_path / "config.py", config)
    assert command.main(["--config", str(file), "--workdir", str(tmp_path / "run")]) == 2
    assert re.search(f"error: {message}", capsys.readouterr().err.splitlines()[-1])
    assert not list((tmp_path / "run" / "best").iterdir())
    log = read_run_log(tmp_path / "run" / "log.jsonl")
    assert log.end == "unreadable"
    if not garbage["train"]:  # what was trained before the evaluation is there, and goes on from there
        steps = [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]
        assert steps == [str(log.header.total_steps)]


def test_a_few_images_that_cannot_be_read_are_left_out(tmp_path):
    data = image_folder(tmp_path / "images", {"train": 16, "test": 16})
    config = tiny(model={"num_classes": 2}, data=data, optimiser={"warmup_steps": 1})
    assert train(config, tmp_path / "run", visible=False).evaluation.examples == 75
    assert read_run_log(tmp_path / "run" / "log.jsonl").metrics[-1].unreadable == 5


def test_one_batch_without_images_ends_a_run(tmp_path):
    """Also among readable ones, by whose means it would go unnoticed."""

    def lose(step, batch):
        if step == 2:
            batch["weight"][:], batch["unreadable"][:] = 0, True

    with pytest.raises(UserError, match="none of the 64 images of a batch of "):
        train(tiny(), tmp_path, on_batch=lose, visible=False)
    assert read_run_log(tmp_path / "log.jsonl").end == "unreadable"
    assert not list((tmp_path / "checkpoints").iterdir())


@pytest.mark.slow
def test_sixty_four_bits_change_nothing(tmp_path, compilation_cache, monkeypatch):
    """Parameters stay float32, and random numbers what they are."""
    config = tiny(data={"mixup_alpha": 0.5, "cutmix_alpha": 1.0}, training={"epochs": 0.3, "accumulate": 2})
    file = write_config(tmp_path / "config.py", config)
    train(config, tmp_path / "32", visible=False)
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    arguments = ["--config", str(file), "--workdir", str(tmp_path / "64")]
    _, err = (process := start("nfnet.train", *arguments, cache=compilation_cache)).communicate(timeout=300)
    assert process.returncode == 0, err
    assert same(final(tmp_path / "64"), final(tmp_path / "32"))


def test_folders_of_other_machines_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    file = write_config(tmp_path / "config.py", tiny())
    for address in ("gs://bucket/run", "s3://bucket/run", "hdfs:///run", "~nobody-of-this-name/run"):
        assert command.main(["--config", str(file), "--workdir", address]) == 2
        assert f"error: --workdir is {address}, but " in capsys.readouterr().err
        with pytest.raises(UserError, match="--workdir is "):
            train(tiny(), Path(address), visible=False)
    assert [path.name for path in tmp_path.iterdir()] == ["config.py"]


def test_a_tilde_is_the_home(uninterrupted, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_config(tmp_path / "config.py", tiny())
    shutil.copytree(uninterrupted[0], tmp_path / "run")
    assert command.main(["--config", "~/config.py", "--workdir", "~/run"]) == 0
    assert "finished after 23 steps" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["train", "finetune", "evaluate", "study"])
def test_missing_packages_are_one_sentence(tmp_path, monkeypatch, capsys, module):
    file = str(write_config(tmp_path / "config.py", tiny()))
    (tmp_path / "study.toml").write_text(
        f'config = "{file}"\nworkdir = "{tmp_path}"\nmodels = ["S/16"]\nepochs = [1]\nlearning_rates = {{centre = 1}}'
    )
    needed = {"train": ["--workdir", "w"], "finetune": ["--workdir", "w", "--init", "i"]}
    arguments = {**needed, "evaluate": ["--checkpoint", "c"]}.get(module)
    arguments = ["--config", file, *arguments] if arguments else [str(tmp_path / "study.toml")]
    monkeypatch.setitem(sys.modules, "ml_collections", None)
    code = importlib.import_module(f"nfnet.{module}").main(arguments)
    assert code == (1 if module == "study" else 2)
    first = capsys.readouterr().err.splitlines()[0]
    assert first == (
        "error: the package ml_collections is not installed: run `pip install -e '.[train]'` or `make .venv/.dev`."
    )


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
