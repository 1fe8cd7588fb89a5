import dataclasses
import fcntl
import logging
import math
import os
import re
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from support.tiny_runs import tiny, write_config

from nfnet import study as command
from nfnet import train
from nfnet.errors import UserError
from nfnet.studies import executors
from nfnet.studies.executors import in_process, slurm, subprocesses
from nfnet.studies.sweep import (
    LearningRates,
    Study,
    Trial,
    best_trials,
    known_trials,
    load_study,
    next_trials,
    run_arguments,
    standing,
)
from nfnet.training.environment import locked

STUDY = Study(
    config="c.py:{model}",
    workdir="w",
    models={"F0": {}, "F3": {}, "F7+": {}},
    epochs=(0.25, 1.0, 4.0),
    learning_rates=LearningRates(1.6, 3),
)
SEARCH = dataclasses.replace(STUDY, strategy="two-trial")


def complete(study: Study, loss) -> dict[Trial, float]:
    """Runs a study whose runs have the losses that a function gives."""
    done: dict[Trial, float] = {}
    rounds = 0
    while trials := next_trials(study, done.get):
        done.update({trial: loss(trial) for trial in trials})
        rounds += 1
        assert rounds < 100
    return done


def test_grid_is_the_product():
    done = complete(STUDY, lambda trial: trial.learning_rate)
    assert len(done) == 27
    assert {trial.learning_rate for trial in done} == {0.8, 1.6, 3.2}
    assert LearningRates(1.6, 4).grid() == (3.2, 1.6, 0.8, 0.4)
    assert {trial.learning_rate for trial in best_trials(STUDY, done.get)} == {0.8}


def test_two_trials_find_an_optimum_that_falls_slowly():
    """At most two trials a cell find every optimum that falls by factors of 1 or 2 from cell to cell."""
    optimum = {
        ("F0", 0.25): 1.6, ("F0", 1): 1.6, ("F0", 4): 0.8,
        ("F3", 0.25): 1.6, ("F3", 1): 0.8, ("F3", 4): 0.8,
        ("F7+", 0.25): 1.6, ("F7+", 1): 0.8, ("F7+", 4): 0.4,
    }  # fmt: skip

    def loss(trial: Trial) -> float:
        return 2 + abs(math.log2(trial.learning_rate / optimum[trial.model, trial.epochs]))

    done = complete(SEARCH, loss)
    assert len(done) == 18
    best = {(trial.model, trial.epochs): trial.learning_rate for trial in best_trials(SEARCH, done.get)}
    assert best == optimum


def test_diverged_runs_count_as_bad():
    done = complete(SEARCH, lambda trial: math.inf if trial.learning_rate > 0.5 else trial.learning_rate)
    rates = [trial.learning_rate for trial in known_trials(SEARCH, done.get) if trial.model == "F0"]
    assert rates == [1.6, 0.8, 0.8, 0.4, 0.4, 0.2]
    assert all(trial.learning_rate <= 0.4 for trial in best_trials(SEARCH, done.get))


def test_cells_wait_for_their_neighbours():
    assert [(t.model, t.epochs) for t in next_trials(SEARCH, lambda trial: None)] == [("F0", 0.25)] * 2
    first = dict.fromkeys(next_trials(SEARCH, lambda trial: None), 1.0)
    cells = {(trial.model, trial.epochs) for trial in next_trials(SEARCH, first.get)}
    assert cells == {("F0", 1.0), ("F3", 0.25)}


def test_arguments_of_a_run():
    trial = Trial("F7+", 0.25, 0.8)
    study = dataclasses.replace(STUDY, overrides={"training.batch_size": 64}, workdir="w")
    assert run_arguments(study, trial) == [
        "--config", "c.py:F7+", "--workdir", "w/F7+/epochs_0.25/lr_0.8", "--config.training.batch_size=64",
        "--config.training.epochs=0.25", "--config.optimiser.learning_rate=0.8",
    ]  # fmt: skip
    named = dataclasses.replace(study, config="c.py", models={"B/16": {}})
    arguments = run_arguments(named, Trial("B/16", 1, 1))
    assert "--config.model.variant=B/16" in arguments
    assert arguments[3] == "w/B-16/epochs_1/lr_1"


def write_study(folder, **changes) -> str:
    config = write_config(folder / "tiny.py", tiny(training={"log_every": 2}))
    lines = {
        "config": f'"{config}"',
        "workdir": f'"{folder / "runs"}"',
        "epochs": "[0.25, 0.5]",
        "learning_rates": "{centre = 0.2}",
        "strategy": '"two-trial"',
        "executor": '"in-process"',
        **changes,
    }
    text = "".join(f"{key} = {value}\n" for key, value in lines.items() if value)
    if "models" not in changes:
        text += '[models.narrow]\n"model.shape.mlp_width" = 8\n'
    (folder / "study.toml").write_text(text)
    return str(folder / "study.toml")


@pytest.mark.usefixtures("cached")
def test_a_study_runs_and_is_left_alone_when_done(tmp_path, capsys):
    path = write_study(tmp_path, epochs="[0.25]")
    assert command.main([path, "--status"]) == 0
    assert capsys.readouterr().out.count("pending") == 2
    assert command.main([path]) == 0
    out = capsys.readouterr().out
    assert out.count("finished") == 2
    assert out.count("*") == 1
    logs = {p: p.read_bytes() for p in tmp_path.rglob("log.jsonl")}
    assert len(logs) == 2
    assert command.main([path]) == 0
    assert {p: p.read_bytes() for p in tmp_path.rglob("log.jsonl")} == logs
    study = load_study(tmp_path / "study.toml")
    now = standing(study, Trial("narrow", 0.25, 0.2))
    assert (now.state, now.step, now.total_steps) == ("finished", 6, 6)
    # A run that was killed while writing its log counts as interrupted, and is resumed.
    log = tmp_path / "runs/narrow/epochs_0.25/lr_0.2/log.jsonl"
    log.write_bytes(log.read_bytes()[:-5])
    assert standing(study, Trial("narrow", 0.25, 0.2)).state == "interrupted"


def test_failures_are_told_and_other_runs_done(tmp_path, capsys):
    path = write_study(tmp_path, strategy='"grid"', epochs="[0.25]", learning_rates="{centre = 0.2, points = 1}")
    study = load_study(tmp_path / "study.toml")
    attempted = []

    def executor(ready):
        while runs := ready():
            attempted.extend(runs)
        return 0

    assert command.run_study(study, executor) == 1
    assert len(attempted) == 1
    assert capsys.readouterr().err.count("failed:") == 1
    assert command.run_study(study, lambda ready: 143) == 143
    assert path.endswith("study.toml")


def once(*batches):
    """What an executor asks for runs: each time the next of some batches."""
    return iter([*batches, *20 * [[]]]).__next__


@pytest.mark.parametrize("kind", ["in-process", "subprocess", "slurm"])
def test_executors_run_what_is_ready_and_ask_again(tmp_path, kind, monkeypatch):
    """The third run is known only once one of the first two has ended."""
    # Refused within a second, which shows that arguments arrive and exit codes return.
    runs = [["--config", "none.py", "--workdir", str(tmp_path / name)] for name in ("a", "b", "c")]
    ready = once(runs[:2], runs[2:])
    if kind == "subprocess":
        assert subprocesses(2)(ready) == 0
        for name in ("a", "b", "c"):
            assert "Missing configuration none.py" in (tmp_path / name / "output.txt").read_text()
        return
    called = []

    def call(arguments):
        called.append(arguments)
        return train.main(arguments)

    if kind == "slurm":
        # submitit's own stand-in for a cluster: the same calls, in this process. It leaves its log files
        # open.
        handlers: list[logging.Handler] = []
        real = logging.FileHandler

        def handler(path):
            handlers.append(real(path))
            return handlers[-1]

        monkeypatch.setattr(logging, "FileHandler", handler)
        assert slurm(call, tmp_path / "slurm", {"timeout_min": 1}, cluster="debug")(ready) == 0
        for opened in handlers:
            opened.close()
    else:
        assert in_process(call)(ready) == 0
    assert called == runs


def test_a_run_that_a_signal_stopped_ends_the_others():
    assert in_process(lambda arguments: 143)(once([["a"], ["b"]])) == 143


def _sleeper(monkeypatch, seconds=60):
    """Instead of runs: processes that sleep; returns those that were started."""
    started = []

    def start(arguments):
        started.append(subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({seconds})"]))
        return started[-1]

    monkeypatch.setattr(executors, "_start", start)
    return started


def test_an_error_leaves_no_run_behind(monkeypatch):
    started = _sleeper(monkeypatch)

    def start_one(arguments, start=executors._start):
        if arguments == ["bad"]:
            raise UserError("no such folder")
        return start(arguments)

    monkeypatch.setattr(executors, "_start", start_one)
    with pytest.raises(UserError, match="no such folder"):
        subprocesses(2)(once([["good"], ["bad"]]))
    assert [process.poll() for process in started] == [-signal.SIGTERM]


def test_a_signal_reaches_a_run_that_is_just_being_started(monkeypatch):
    started = _sleeper(monkeypatch)

    def start_one(arguments, start=executors._start):
        process = start(arguments)
        os.kill(os.getpid(), signal.SIGTERM)  # its handler runs before the process is in any list
        return process

    monkeypatch.setattr(executors, "_start", start_one)
    assert subprocesses(2)(once([["a"], ["b"]])) == 128 + signal.SIGTERM
    assert [process.poll() for process in started] == [-signal.SIGTERM]


def test_a_stopped_job_lets_the_others_end(tmp_path, monkeypatch):
    class Job:
        def __init__(self, code, looks):
            self.code, self.looks, self.job_id = code, looks, "1"

        def done(self):
            self.looks -= 1
            return self.looks < 0

        def results(self):
            return [self.code]

    made = []

    class Stand:
        def __init__(self, folder, cluster):
            pass

        def update_parameters(self):
            pass

        def submit(self, train, arguments):
            made.append(Job(143, 0) if len(made) == 0 else Job(0, 2))
            return made[-1]

    monkeypatch.setitem(sys.modules, "submitit", SimpleNamespace(AutoExecutor=Stand))
    monkeypatch.setattr(executors, "_POLL_JOBS", 0.0)
    runs = [["--workdir", name] for name in "abc"]
    assert slurm(lambda arguments: 0, tmp_path, {})(once(runs[:2], runs[2:])) == 143
    assert len(made) == 2
    assert all(job.looks < 0 for job in made)


def test_a_look_at_a_run_does_not_keep_it_from_starting(tmp_path):
    looking = (tmp_path / ".lock").open("w")
    fcntl.flock(looking, fcntl.LOCK_SH)
    threading.Timer(0.1, looking.close).start()
    with locked(tmp_path):
        pass


def test_a_search_goes_on_as_soon_as_one_of_its_cells_is_done(tmp_path, monkeypatch):
    """Cells do not wait for others than their neighbours: with the first budget done, F0 goes through all budgets."""
    study = dataclasses.replace(SEARCH, workdir=str(tmp_path))
    done: dict[Trial, float] = {}
    monkeypatch.setattr(command, "_loss_of", lambda study, trial: done.get(trial))
    order = []

    def executor(ready):
        waiting = list(ready())
        while waiting:
            # The last run that became ready ends first, those of other models wait.
            arguments = waiting.pop(max((i for i, one in enumerate(waiting) if "/F0/" in one[3]), default=0))
            _, model, epochs, rate = arguments[3].rsplit("/", 3)
            done[Trial(model, float(epochs[7:]), float(rate[3:]))] = 1.0
            order.append((model, epochs))
            waiting += ready()
        return 0

    assert command.run_study(study, executor) == 0
    assert order[:6] == [("F0", f"epochs_{epochs}") for epochs in ("0.25", "0.25", "1", "1", "4", "4")]
    assert len(order) == len(set(order)) * 2 == 18


def test_folders_of_other_machines_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = write_study(tmp_path, workdir='"gs://bucket/runs"')
    assert command.main([path]) == 2
    assert "workdir is gs://bucket/runs, but gs:// is not read or written here" in capsys.readouterr().err
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["study.toml", "tiny.py"]
    monkeypatch.setenv("HOME", str(tmp_path))
    write_study(tmp_path, workdir='"~/runs"')
    assert command.main(["~/study.toml", "--status"]) == 0
    assert load_study(tmp_path / "study.toml").workdir == str(tmp_path / "runs")


def test_slurm_is_told_to_be_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="Slurm cannot be used"):
        slurm(train.main, tmp_path, {}, cluster="slurm")(once([["--config", "c", "--workdir", str(tmp_path)]]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": "[4, 1]"}, "rising order"),
        ({"epochs": None}, "lacks epochs"),
        ({"strategy": '"random"'}, r"strategy 'random'"),
        ({"executor": '"slrm"'}, r"executor 'slrm'.*'slurm'"),
        ({"parallel": "0"}, r"parallel is 0, but must be a whole number from 1 to 1024"),
        ({"learning_rates": "{center = 1}"}, r"'center'.*'centre'"),
        ({"learning_rates": "{centre = -1.0}"}, r"learning_rates.centre is -1.0, but must be .*above 0"),
        ({"epochs": "[1"}, "is no TOML"),
        ({"epochs": "[]"}, "at least one model and one epoch budget"),
        ({"epochs": "[nan]"}, "epochs is .*numbers above 0"),
        ({"epochs": "[1.0, inf]"}, "epochs is .*numbers above 0"),
        ({"epochs": "[0]"}, "epochs is .*numbers above 0"),
        ({"epochs": "[1.0, 1.00000001]"}, "rising order, each once"),
        ({"epochs": "3"}, "epochs is 3, but must be numbers above 0"),
        ({"epochs": "[9" + 5000 * "9" + "]"}, "is no TOML"),
        ({"epochs": 3000 * "[" + 3000 * "]"}, "epochs is|nested too deeply"),
        ({"models": "[]"}, "at least one model"),
        ({"models": '["F0", "F0"]'}, "must be names, each once"),
        ({"models": '["B/16", "B-16"]'}, "two have one name"),
        ({"models": "[1, 2]"}, "must be names, each once"),
        ({"models": "[[]]"}, "must be names, each once"),
        ({"models": '["../F0"]'}, "the first no dot"),
        ({"models": '["F\\u001b[2J"]'}, r"name 'F.x1b"),
        ({"models": "3"}, "models is 3, but must be a table"),
        ({"models": "{F0 = 3}"}, "models.F0 is 3, but must be a table"),
        ({"models": '{F0 = {"model.variat" = "F1"}}'}, "In models.F0: unknown setting .*'variat'"),
        ({"learning_rates": "{centre = nan}"}, "learning_rates.centre is nan"),
        ({"learning_rates": "{centre = 1.0, points = 2.5}"}, "learning_rates.points is 2.5, but must be a whole"),
        ({"learning_rates": "{points = 2}"}, "learning_rates lacks centre"),
        ({"learning_rates": "0.1"}, "learning_rates is 0.1, but must be a group of settings"),
        ({"overrides": '{"training.batch_size" = -1}'}, "In overrides: config.training.batch_size is -1"),
        ({"overrides": '{"training.batch_size" = "64"}'}, "config.training.batch_size is '64'"),
        ({"overrides": "{training = {batch_size = 64}}"}, "config.training is a group"),
        ({"slurm": "{nodes = 0}"}, "slurm.nodes is 0"),
        ({"config": '"a\\u0000b"'}, "config is 'a.x00b'"),
    ],
)
def test_bad_studies_are_told(tmp_path, changes, message, capsys):
    assert command.main([write_study(tmp_path, **changes)]) == 2
    said = capsys.readouterr().err
    assert re.search(message, said)
    assert said.count("\n") == 1
    assert "study.toml" in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("content", [b"config = '\xff'", b"\xff\xfe"])
def test_a_study_has_to_be_utf8(tmp_path, capsys, content):
    (tmp_path / "study.toml").write_bytes(content)
    assert command.main([str(tmp_path / "study.toml")]) == 2
    assert "study.toml is no UTF-8 text" in capsys.readouterr().err


def test_a_study_has_to_be_a_file(tmp_path, capsys):
    assert command.main([str(tmp_path)]) == 2
    assert "it is a folder" in capsys.readouterr().err
    (tmp_path / "loop").symlink_to("loop")
    assert command.main([str(tmp_path / "loop")]) == 2
    assert "cannot be read (Too many levels" in capsys.readouterr().err


def test_missing_study(tmp_path, capsys):
    assert command.main([str(tmp_path / "none.toml")]) == 2
    assert "none.toml: the ones provided are digits" in capsys.readouterr().err
