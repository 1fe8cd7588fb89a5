"""Several devices and several processes give the results of one."""

import socket

import numpy as np
import pytest
from support.tiny_runs import start, tiny, write_config

from nfnet.training.checkpoint import load_parameters
from nfnet.training.loop import train
from nfnet.training.run_log import read_run_log

# Wide enough that the state is really sharded: the MLP's matrices have 2^14 values.
CONFIG = tiny(
    model={"shape": {"patch": 4, "width": 64, "depth": 1, "mlp_width": 256, "num_heads": 2, "resolution": 8}},
    data={"mixup_alpha": 1.0, "repeats": 2},
    training={"epochs": 0.4, "log_every": 1, "save_every": 4},
)


def launch(workdir, cache, *extra, devices):
    config = write_config(workdir.with_suffix(".py"), CONFIG)
    arguments = ["--config", str(config), "--workdir", str(workdir), *extra]
    return start("nfnet.train", *arguments, cache=cache, devices=devices)


def finish(*processes):
    for process in processes:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, out + err


def results(workdir):
    log = read_run_log(workdir / "log.jsonl")
    losses = [(m.train_loss, m.gradient_norm) for m in log.metrics]
    held_out = [log.held_out_loss, log.held_out_top1]
    return np.array(losses), np.array(held_out), load_parameters(workdir / "checkpoints").params


def assert_close(ours, theirs):
    """To the order of float32 sums."""
    losses, held_out, params = ours
    np.testing.assert_allclose(losses, theirs[0], rtol=2e-4)
    np.testing.assert_allclose(held_out, theirs[1], rtol=1e-3)
    for module, arrays in params.items():
        for name, array in arrays.items():
            np.testing.assert_allclose(array, theirs[2][module][name], rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("one")
    train(CONFIG, workdir, visible=False)
    return results(workdir)


@pytest.mark.slow
@pytest.mark.usefixtures("cached")
def test_two_processes_of_four_devices_are_one(tmp_path, one_device, compilation_cache):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    workdir = tmp_path / "two"
    finish(
        *(
            launch(
                workdir,
                compilation_cache,
                f"--coordinator=127.0.0.1:{port}",
                "--processes=2",
                f"--process-id={index}",
                devices=4,
            )
            for index in range(2)
        )
    )
    header = read_run_log(workdir / "log.jsonl").header
    assert (header.devices, header.processes) == (8, 2)
    assert_close(results(workdir), one_device)


@pytest.mark.slow
@pytest.mark.usefixtures("cached")
def test_sharded_parameters_and_a_change_of_devices(tmp_path, one_device, compilation_cache):
    """Four steps on one device, the rest on eight with parameters sharded over four."""

    class Stop(Exception):
        pass

    def stop(step, batch) -> None:
        if step == 6:
            raise Stop

    workdir = tmp_path / "sharded"
    with pytest.raises(Stop):
        train(CONFIG, workdir, on_batch=stop, visible=False)
    finish(launch(workdir, compilation_cache, "--config.training.shard_state=4", devices=8))
    log = read_run_log(workdir / "log.jsonl")
    assert log.resumes == (4,)
    assert_close(results(workdir), one_device)
