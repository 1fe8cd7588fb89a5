import errno
import json
import os
import shutil

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
    best = load_parameters(tmp_path)  # the best is preferred
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
        UserError, match=r"No space left for checkpoints in .*the complete checkpoints there are intact"
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
