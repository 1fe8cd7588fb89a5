import json
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.tiny_runs import CONFIG, ROOT, same, start, tiny, write_config

from nfnet import UserError, evaluate, finetune, train
from nfnet.training import initial
from nfnet.training.checkpoint import load_parameters
from nfnet.training.config import ModelConfig, RunConfig
from nfnet.training.run_log import read_run_log
from nfnet.weights.origins import RELEASED, TIMM_NFNET

pytestmark = pytest.mark.usefixtures("cached")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return str(write_config(tmp_path_factory.mktemp("config") / "tiny.py", CONFIG))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, config):
    workdir = tmp_path_factory.mktemp("trained")
    assert train.main(["--config", config, "--workdir", str(workdir)]) == 0
    return str(workdir)


@pytest.mark.slow
def test_digits_configuration_trains_an_nfnet(tmp_path, capsys):
    """The embedded default, cut short: it must learn clearly more than chance."""
    arguments = ["--config", f"{ROOT}/nfnet/configs/digits.py", "--workdir", str(tmp_path)]
    arguments += ["--config.training.epochs=3", "--config.training.evaluate_every=0"]
    assert train.main(arguments) == 0
    assert "finished after 68 steps" in capsys.readouterr().err
    log = read_run_log(tmp_path / "log.jsonl")
    assert log.held_out_top1 > 0.5
    assert log.metrics[-1].train_loss < 0.7 * log.metrics[0].train_loss


@pytest.mark.long
@pytest.mark.parametrize(("name", "top1"), [("digits", 0.95), ("digits_vit", 0.90)])
def test_digits_configurations_keep_their_promise(tmp_path, name, top1):
    assert train.main(["--config", f"{ROOT}/nfnet/configs/{name}.py", "--workdir", str(tmp_path)]) == 0
    assert read_run_log(tmp_path / "log.jsonl").held_out_top1 > top1


def test_evaluation_gives_what_training_logged(trained, config, capsys):
    assert evaluate.main(["--config", config, "--checkpoint", trained, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    log = read_run_log(f"{trained}/log.jsonl")
    assert result["examples"] == 360
    assert result["loss"] == pytest.approx(log.held_out_loss, rel=1e-5)
    assert result["top1"] == pytest.approx(log.held_out_top1)
    assert evaluate.main(["--config", config, "--checkpoint", trained, "--raw"]) == 0
    out = capsys.readouterr().out
    assert "parameters after 23 steps" in out
    assert "of 360 images at 8 px" in out


def test_finetuning_at_another_resolution_starts_from_the_body(trained, config, tmp_path, capsys):
    arguments = ["--config", config, "--init", trained, "--workdir", str(tmp_path)]
    arguments += ["--config.data.image_size=16", "--config.data.evaluation_size=16"]
    arguments += ["--config.optimiser.learning_rate=1e-6", "--config.training.epochs=0.25"]
    assert finetune.main(arguments) == 0
    err = capsys.readouterr().err
    assert "1 resized (ViT/position_embedding)" in err
    assert "2 reset (ViT/head/" in err
    before = load_parameters(trained).params
    after = load_parameters(tmp_path).params
    body = [module for module in before if "block_0" in module]
    assert body
    for module in body:
        for name in before[module]:
            np.testing.assert_allclose(after[module][name], before[module][name], atol=1e-4)
    assert after["ViT"]["position_embedding"].shape[1] == 16


@pytest.fixture(scope="module")
def timm_file(trained, tmp_path_factory):
    """The trained network as timm would hold it, in half precision."""
    state, folder = {}, tmp_path_factory.mktemp("timm")
    names = {
        "patch_embedding": "patch_embed.proj", "norm": "norm", "head": "head",
        "block_0/attention_norm": "blocks.0.norm1", "block_0/attention/qkv": "blocks.0.attn.qkv",
        "block_0/attention/out": "blocks.0.attn.proj", "block_0/mlp_norm": "blocks.0.norm2",
        "block_0/mlp/hidden": "blocks.0.mlp.fc1", "block_0/mlp/out": "blocks.0.mlp.fc2",
    }  # fmt: skip
    params = load_parameters(trained).params
    state["pos_embed"] = params.pop("ViT")["position_embedding"]
    for module, group in params.items():
        theirs = names[module.removeprefix("ViT/")]
        weight, bias = (group[name] for name in (("w", "b") if "w" in group else ("scale", "offset")))
        if theirs == "patch_embed.proj":
            weight = weight.reshape(4, 4, 3, -1).transpose(3, 2, 0, 1)
        state[f"{theirs}.weight"], state[f"{theirs}.bias"] = (weight.T if weight.ndim == 2 else weight), bias
    path = str(folder / "timm.npz")
    np.savez(path, **{key: value.astype(np.float16) for key, value in state.items()})
    return path


@pytest.mark.slow
def test_weights_are_evaluated_and_finetuned_in_the_network_that_they_belong_to(
    timm_file, trained, config, tmp_path, capsys
):
    told = f"{timm_file} is of timm's ViTs (gelu erf): the network is built so."
    assert evaluate.main(["--config", config, "--checkpoint", timm_file, "--json"]) == 0
    result = capsys.readouterr()
    assert told in result.err
    erf = "--config.model.shape.gelu=erf"
    assert evaluate.main(["--config", config, "--checkpoint", timm_file, "--json", erf]) == 0
    asked = capsys.readouterr()
    assert told not in asked.err
    assert asked.out == result.out
    arguments = ["--config", config, "--init", timm_file, "--workdir", str(tmp_path), "--config.training.epochs=0.1"]
    assert finetune.main([*arguments, "--config.data.image_size=16", "--config.data.evaluation_size=16"]) == 0
    err = capsys.readouterr().err
    assert told in err
    assert "1 resized (ViT/position_embedding)" in err
    # Whoever reads the run's checkpoint is told the same.
    assert load_parameters(tmp_path).meta["config"]["model"]["shape"]["gelu"] == "erf"
    arguments = ["--config", config, "--checkpoint", str(tmp_path), "--config.data.evaluation_size=16"]
    assert evaluate.main(arguments) == 0
    assert "is of this package (gelu erf): the network is built so." in capsys.readouterr().err
    tanh = "--config.model.shape.gelu=tanh"
    for command, source, rest in (
        (evaluate, "--checkpoint", []),
        (finetune, "--init", ["--workdir", str(tmp_path / "other")]),
    ):
        assert command.main(["--config", config, source, timm_file, tanh, *rest]) == 2
        assert "is of timm's ViTs (gelu erf), but model.shape has gelu tanh" in capsys.readouterr().err
    assert evaluate.main(["--config", config, "--checkpoint", trained, erf]) == 2
    assert "is of this package (gelu tanh), but model.shape has gelu erf" in capsys.readouterr().err


def test_the_origin_decides_gelu_and_floor_of_an_nfnet(capsys):
    def adopted(origin, **shape):
        config = RunConfig(model=ModelConfig(variant="F0", shape=shape))
        return initial.adopt(initial.Initial({}, "file", origin), config).model.shape

    theirs = {"activation": "gelu_erf", "floor": "add"}
    assert adopted(TIMM_NFNET) == theirs
    assert (
        "file is of timm's NFNets (activation gelu_erf, floor add): the network is built so." in capsys.readouterr().err
    )
    assert adopted(TIMM_NFNET, **theirs, alpha=0.1) == {**theirs, "alpha": 0.1}
    assert adopted(RELEASED) == {}
    assert capsys.readouterr().err == ""
    for origin, field, value in ((TIMM_NFNET, "floor", "clamp"), (RELEASED, "activation", "gelu_erf")):
        with pytest.raises(UserError, match=f"model.shape has {field} {value}: leave that out"):
            adopted(origin, **{field: value})


def test_the_last_checkpoint_is_taken_unless_the_best_is_asked_for(trained, config, tmp_path, capsys):
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    for command in (["--checkpoint", str(workdir)], ["--checkpoint", str(workdir / "checkpoints")]):
        assert evaluate.main(["--config", config, *command]) == 0
        assert f"{workdir}/checkpoints/23 " in capsys.readouterr().out
    assert evaluate.main(["--config", config, "--checkpoint", str(workdir), "--best"]) == 0
    assert f"{workdir}/best/23 " in capsys.readouterr().out
    shutil.rmtree(workdir / "best")
    for place in (workdir, workdir / "checkpoints" / "23", config):
        assert evaluate.main(["--config", config, "--checkpoint", str(place), "--best"]) == 2
        assert "No best checkpoint in" in capsys.readouterr().err


def test_an_evaluation_batch_that_devices_cannot_share_is_told(trained, config, capsys, monkeypatch):
    monkeypatch.setattr(initial, "make_mesh", lambda: SimpleNamespace(size=3))
    assert evaluate.main(["--config", config, "--checkpoint", trained]) == 2
    err = capsys.readouterr().err
    assert "training.evaluation_batch_size is 64" in err
    assert "number of devices, 3" in err


def test_a_file_without_a_classifier_is_for_fine_tuning(timm_file, config, tmp_path, capsys):
    with np.load(timm_file) as file:
        np.savez(tmp_path / "headless.npz", **{key: file[key] for key in file if not key.startswith("head.")})
    assert evaluate.main(["--config", config, "--checkpoint", str(tmp_path / "headless.npz")]) == 2
    assert (
        "cannot be evaluated: it holds no classifier (ViT/head/b is missing); fine-tune it first"
        in capsys.readouterr().err
    )


def test_bad_input_is_one_sentence_and_exit_code_2(trained, config, tmp_path, capsys):
    wider = "--config.model.shape.width=32"
    for command, arguments, message in (
        (train, ["--config", "none.py", "--workdir", str(tmp_path)], "Missing configuration none.py"),
        (
            train,
            ["--config", config, "--workdir", str(tmp_path), "--config.data.crop=wide"],
            "data.crop 'wide'",
        ),
        (train, ["--config", config, "--workdir", str(tmp_path), "--processes=2"], "need --coordinator"),
        (train, ["--config", config, "--workdir", f"{config}/x"], "cannot be used"),
        (evaluate, ["--config", config, "--checkpoint", str(tmp_path)], "No checkpoint in"),
        (evaluate, ["--config", config, "--checkpoint", trained, wider], "is of another model"),
        (
            finetune,
            ["--config", config, "--init", trained, "--workdir", str(tmp_path), wider],
            "another model",
        ),
    ):
        assert command.main(arguments) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.startswith("error: ")
        assert err.count("\n") == 1


@pytest.mark.parametrize("command", [train, finetune, evaluate])
def test_unknown_arguments_are_refused(command, capsys):
    with pytest.raises(SystemExit) as raised:
        command.main(["--config", "c.py", "--workdir=w", "--init=i", "--checkpoint=c", "--nonsense"])
    assert raised.value.code == 2
    with pytest.raises(SystemExit) as raised:
        command.main(["--help"])
    assert raised.value.code == 0
    assert "--config.GROUP.KEY=VALUE" in capsys.readouterr().out


@pytest.mark.slow
def test_kill_nine_loses_little(tmp_path, compilation_cache):
    """A real process, killed while it trains, then resumed by the same command: nothing differs."""
    file = str(write_config(tmp_path / "tiny.py", tiny(training={"epochs": 20.0, "save_every": 20})))
    whole, killed = str(tmp_path / "whole"), str(tmp_path / "killed")
    assert train.main(["--config", file, "--workdir", whole]) == 0
    _kill(file, killed, compilation_cache, after=10, saved=True)
    assert read_run_log(f"{killed}/log.jsonl").end is None
    assert train.main(["--config", file, "--workdir", killed]) == 0
    assert read_run_log(f"{killed}/log.jsonl").resumes[0] >= 20
    for average in (True, False):
        ours, theirs = (load_parameters(f"{w}/checkpoints", average=average).params for w in (killed, whole))
        assert same(ours, theirs)


@pytest.mark.long
def test_ten_kills_by_the_system_change_nothing(tmp_path, compilation_cache):
    """As above, ten times at random moments, during saves and start-up too; every fourth by SIGTERM."""
    settings = {"epochs": 40.0, "log_every": 1, "save_every": 3}
    config = tiny(training=settings)
    file = str(write_config(tmp_path / "tiny.py", config))
    whole, killed = str(tmp_path / "whole"), str(tmp_path / "killed")
    assert train.main(["--config", file, "--workdir", whole]) == 0
    rng = np.random.default_rng(0)
    for kill in range(10):
        number = signal.SIGTERM if kill % 4 == 3 else signal.SIGKILL
        _kill(
            file,
            killed,
            compilation_cache,
            after=int(rng.integers(1, 80)),
            number=number,
            wait=rng.uniform(0, 0.1),
        )
    assert train.main(["--config", file, "--workdir", killed]) == 0
    log = read_run_log(f"{killed}/log.jsonl")
    assert len(log.resumes) >= 8
    assert [m.train_loss for m in log.metrics] == [m.train_loss for m in read_run_log(f"{whole}/log.jsonl").metrics]
    assert same(*(load_parameters(f"{w}/checkpoints", average=False).params for w in (killed, whole)))


def _kill(config, workdir, cache, after, number=signal.SIGKILL, wait=0.0, *, saved=False):
    """Starts a run and kills it once its log has grown by `after` lines (and something was saved)."""
    log = Path(workdir) / "log.jsonl"

    def lines() -> int:
        return log.read_bytes().count(b"\n") if log.exists() else 0

    goal = lines() + after
    process = start("nfnet.train", "--config", config, "--workdir", workdir, cache=cache)
    deadline = time.monotonic() + 120

    def too_early() -> bool:
        return lines() < goal or (saved and not list(Path(workdir).glob("checkpoints/[1-9]?*[0-9]")))

    while too_early() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(wait)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (-number, 128 + number), err
