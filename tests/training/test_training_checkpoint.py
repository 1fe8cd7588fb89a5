import errno
import json
import os
import shutil
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest
from support.tiny_runs import same

from nfnet.errors import UserError
from nfnet.training import checkpoint
from nfnet.training.checkpoint import Checkpoints, load_parameters
from nfnet.training.sharding import make_mesh
from nfnet.training.state import TrainState
from nfnet.training.step import init_state

OPTIMISER = optax.chain(optax.identity(), optax.sgd(0.1, momentum=0.9))


def state(value: float, shape: tuple[int, ...] = (3, 4), *, average: bool = True) -> TrainState:
    params = {
        "NFNet/~/stem_conv0": {"w": jnp.full(shape, value), "gain": jnp.ones(4)},
        "x": {"skip_gain": jnp.zeros(())},
    }
    made = init_state(params, OPTIMISER, 0.9 if average else 0.0)
    return made._replace(step=jnp.int32(value))


def restore(checkpoints: Checkpoints, like: TrainState):
    abstract = jax.eval_shape(lambda: like)
    return checkpoints.restore(abstract, make_mesh())


def meta(loss: float = 1.0) -> dict:
    return {"config": {"a": [1, 2.5, None]}, "held_out_loss": loss}


def test_round_trip_keeps_the_newest_and_the_best(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert checkpoints.latest_meta() is None
    with pytest.raises(UserError, match="No checkpoint in"):
        restore(checkpoints, state(0))
    assert checkpoints.best_loss() is None
    for step, loss in ((5, 3.0), (10, 1.0), (15, 2.0)):
        checkpoints.save(step, state(step), meta(loss))
        checkpoints.save(step, state(step), meta(loss))  # saving twice is harmless
        if loss < 3.0 and step == 10:
            checkpoints.save_best(step, state(step), meta(loss))
    checkpoints.close()
    again = Checkpoints(tmp_path, keep=2)
    assert again.latest_step == 15
    assert again.best_loss() == 1.0
    assert same(restore(again, state(0)), state(15))
    assert again.latest_meta()["config"] == meta()["config"]
    again.close()
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["10", "15"]
    best = load_parameters(tmp_path, best=True)
    assert (best.folder.name, best.averaged) == ("10", True)
    assert same(best.params, jax.device_get(state(10).params))
    newest = load_parameters(tmp_path / "checkpoints", average=False)
    assert (newest.meta["step"], newest.averaged) == (15, False)
    assert load_parameters(tmp_path / "checkpoints" / "10").meta["step"] == 10


def test_without_average(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(3, state(3, average=False), meta())
    assert same(restore(checkpoints, state(0, average=False)), state(3, average=False))
    checkpoints.close()
    assert not load_parameters(tmp_path).averaged


def test_checkpoints_of_another_model_are_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(3, state(3), meta())
    checkpoints.wait()
    with pytest.raises(UserError, match=r"checkpoints/3/params is of another .*stem_conv0/w has shape \(3, 4\)"):
        restore(checkpoints, state(0, (3, 5)))
    other = init_state(state(3).params, optax.adam(0.1), 0.9)
    with pytest.raises(UserError, match="checkpoints/3/optimiser is of another model or optimiser"):
        restore(checkpoints, other)
    checkpoints.close()


def test_damaged_and_missing_checkpoints_are_told(tmp_path):
    with pytest.raises(UserError, match="No checkpoint in"):
        load_parameters(tmp_path)
    checkpoints = Checkpoints(tmp_path, keep=1)
    # One array: Orbax closes its event loop at the first that cannot be read, and others would report to a closed one,
    # at any time later.
    checkpoints.save(3, init_state({"x": {"w": jnp.ones(3)}}, OPTIMISER, 0.9), meta())
    checkpoints.close()
    folder = tmp_path / "checkpoints" / "3"
    damaged = tmp_path / "damaged"
    shutil.copytree(folder, damaged)
    for path in (damaged / "average" / "d").iterdir():
        path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(UserError, match="is damaged or foreign"):
        load_parameters(damaged)
    (damaged / "meta" / "metadata").write_text(json.dumps({"format": 9, "step": 1}))
    shutil.rmtree(damaged / "average")
    with pytest.raises(UserError, match="has checkpoint format 9"):
        load_parameters(damaged)


def test_an_unfinished_checkpoint_is_no_checkpoint(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (3, 6):
        checkpoints.save(step, state(step), meta())
    checkpoints.close()
    # What kill -9 leaves behind: the folder has not got its name yet.
    complete = tmp_path / "checkpoints" / "6"
    shutil.copytree(complete, complete.with_name("6.orbax-checkpoint-tmp"))
    shutil.rmtree(complete)
    again = Checkpoints(tmp_path, keep=2)
    assert again.latest_step == 3
    again.save(6, state(6), meta())
    again.close()
    assert load_parameters(tmp_path / "checkpoints").meta["step"] == 6


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        ValueError('RESOURCE_EXHAUSTED: Error writing "x": No space left on device'),
    ],
)
def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch, error):
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(3, state(3), meta())
    checkpoints.wait()

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(checkpoint.ocp.CheckpointManager, "save", fail)
    with pytest.raises(
        UserError, match=r"Checkpoints cannot be written to .* \(No space left on device\).* complete there is intact"
    ):
        checkpoints.save(6, state(6), meta())
    monkeypatch.undo()
    checkpoints.close()
    assert same(load_parameters(tmp_path).params, jax.device_get(state(3).params))


def test_other_errors_are_not_hidden(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, keep=2)

    def fail(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(checkpoint.ocp.CheckpointManager, "save", fail)
    with pytest.raises(ZeroDivisionError):
        checkpoints.save(6, state(6), meta())
    checkpoints.close()


def test_keeping_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match="keep at least one"):
        Checkpoints(tmp_path, keep=0)


@pytest.fixture
def saved(tmp_path) -> Path:
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(3, state(3), meta())
    checkpoints.save_best(3, state(3), meta())
    checkpoints.close()
    return tmp_path


def change_meta(folder: Path, change) -> None:
    file = folder / "meta" / "metadata"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))


def without(*names: str):
    return lambda record: {key: value for key, value in record.items() if key not in names}


def read_all(workdir: Path) -> None:
    checkpoints = Checkpoints(workdir, keep=2)
    try:
        restore(checkpoints, state(0))
    finally:
        checkpoints.close()


@pytest.mark.parametrize("item", ["params", "average"])
def test_other_values_are_noticed_whenever_they_are_read(saved, tmp_path_factory, item):
    other = tmp_path_factory.mktemp("other")
    checkpoints = Checkpoints(other, keep=1)
    checkpoints.save(3, state(4), meta())
    checkpoints.close()
    folder = saved / "checkpoints" / "3"
    shutil.rmtree(folder / item)
    shutil.copytree(other / "checkpoints" / "3" / item, folder / item)
    message = rf"checkpoints/3 is damaged: the array {item}/\S+ is not what was saved"
    with pytest.raises(UserError, match=message):
        read_all(saved)
    with pytest.raises(UserError, match=message):
        load_parameters(folder, average=item == "average")


def test_checkpoints_without_digests_are_read(saved):
    folder = saved / "checkpoints" / "3"
    change_meta(folder, without("digest", "digests"))
    read_all(saved)
    assert same(load_parameters(folder).params, jax.device_get(state(3).params))


def test_a_lost_average_is_not_replaced_by_the_parameters(saved):
    shutil.rmtree(saved / "checkpoints" / "3" / "average")
    with pytest.raises(UserError, match="checkpoints/3/average is damaged"):
        load_parameters(saved / "checkpoints" / "3")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: [1], "meta/metadata is no JSON object"),
        (lambda record: {**record, "config": 1}, "its field 'digest' differs"),
        (lambda record: {**record, "step": "3"}, "'step' is '3', but must be an integer"),
        (lambda record: {**record, "step": 10**5, "digest": None, "digests": None}, "the checkpoint of step 100000"),
        (lambda record: {**record, "format": True}, "has checkpoint format True"),
        (without("digest"), "lacks 'digest'"),
        (without("digests"), "lacks 'digests'"),
        (
            lambda record: (lambda new: {**new, "digest": checkpoint._meta_digest(new)})({**record, "digests": {}}),
            r"the array params/\S+ has no digest",
        ),
    ],
)
def test_damaged_metadata_are_told(saved, change, message):
    change_meta(saved / "checkpoints" / "3", change)
    with pytest.raises(UserError, match=message):
        read_all(saved)


@pytest.mark.parametrize("content", [b"\xff", b"", b"[" * 100_000, b'{"step": ' + b"9" * 5000 + b"}"])
def test_metadata_that_are_no_json_are_told(saved, content):
    (saved / "checkpoints" / "3" / "meta" / "metadata").write_bytes(content)
    with pytest.raises(UserError, match="3/meta/metadata is no JSON of a checkpoint"):
        read_all(saved)


def test_a_best_checkpoint_without_its_loss_is_told(saved):
    change_meta(saved / "best" / "3", without("held_out_loss"))
    checkpoints = Checkpoints(saved, keep=2)
    with pytest.raises(UserError, match="best/3/meta/metadata: 'held_out_loss' is missing"):
        checkpoints.best_loss()
    checkpoints.close()


@pytest.mark.parametrize("name", ["checkpoints", "best", "checkpoints/3"])
def test_files_in_place_of_folders_are_told_before_anything_is_computed(saved, name):
    shutil.rmtree(saved / name)
    (saved / name).write_text("mine")
    with pytest.raises(UserError, match=f"{name}"):
        Checkpoints(saved, keep=2)
    assert (saved / name).read_text() == "mine"


def test_a_save_that_fails_ends(tmp_path, caplog):
    checkpoints = Checkpoints(tmp_path, keep=2)
    shutil.rmtree(tmp_path / "checkpoints")
    (tmp_path / "checkpoints").write_text("")
    before = set(threading.enumerate())
    with pytest.raises(UserError, match=r"Checkpoints cannot be written to .* \((Not a|No such file or) directory\)"):
        checkpoints.save(3, state(3), meta())
    checkpoints.close()
    patience = time.monotonic() + 20  # Orbax's own is ten minutes
    while left := set(threading.enumerate()) - before:  # some may only be about to start
        assert time.monotonic() < patience, left
        time.sleep(0.01)
    assert not caplog.records  # of Orbax, which would bury the sentence
