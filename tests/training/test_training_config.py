import dataclasses
import math
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from support.tiny_runs import CONFIG, ROOT, tiny, write_config

from nfnet.data.sources import SOURCES
from nfnet.errors import UserError
from nfnet.optim.settings import OPTIMISERS, SCHEDULES, make_optimiser, make_schedule
from nfnet.ranges import kinds_of
from nfnet.studies.sweep import Trial, load_study, run_arguments
from nfnet.training.config import RunConfig, from_mapping, settings_help
from nfnet.training.config_file import load_config
from nfnet.training.losses import LOSSES
from nfnet.training.network import make_network, parameter_shapes
from nfnet.training.step import StepConfig

CONFIGS = sorted(p for p in (ROOT / "nfnet/configs").glob("*.py") if p.name != "__init__.py")
STUDIES = sorted((ROOT / "nfnet/configs/studies").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_provided_configurations_make_sense(path):
    config = load_config(str(path))
    StepConfig.of(config)
    classes = config.model.num_classes or 10  # 0 takes those of the data
    parameter_shapes(make_network(dataclasses.replace(config.model, num_classes=classes)), config.data.image_size)
    schedule = make_schedule(config.optimiser, 100_000, 1000)
    make_optimiser(config.optimiser, schedule)
    rates = jax.jit(jax.vmap(schedule))(np.arange(0, 100_001, 500))  # step by step: a dozen small programs each
    assert float(rates[-1]) < 1e-4 * config.optimiser.learning_rate
    assert float(rates.max()) == pytest.approx(config.optimiser.learning_rate, rel=1e-3)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_docstrings_give_the_command_and_the_expectation(path):
    doc = path.read_text().split('"""')[1]
    command = re.search(rf"python -m nfnet\.(train|finetune) --config nfnet/configs/{path.name}", doc)
    assert command
    assert "--workdir" in doc
    assert "Expected:" in doc
    for key in re.findall(r"--config\.([\w.]+)=", doc):
        group, name = key.split(".")
        assert name in RunConfig().as_dict()[group]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_provided_studies_make_sense(path):
    study = load_study(path)
    assert f"nfnet/configs/studies/{path.name}" in path.read_text()
    for model, changes in study.models.items():
        _, config, _, _, *overrides = run_arguments(study, Trial(model, 1.0, 0.1))
        loaded = load_config(str(ROOT / config), overrides)
        assert (loaded.training.epochs, loaded.optimiser.learning_rate) == (1.0, 0.1)
        if changes:  # a network of one's own has to be possible
            parameter_shapes(make_network(loaded.model), loaded.data.image_size)


@pytest.mark.parametrize("variant", ["F0", "F1", "F3", "F3+", "F7", "F7+"])
def test_pretraining_and_finetuning_take_variants(variant):
    pretrain = load_config(f"{ROOT}/nfnet/configs/jft_pretrain.py:{variant}")
    assert pretrain.model.variant == variant
    finetune = load_config(f"{ROOT}/nfnet/configs/imagenet_finetune.py:{variant},4")
    assert (finetune.model.variant, finetune.data.repeats) == (variant, 4)


def test_overrides_are_typed(tmp_path):
    path = str(write_config(tmp_path / "tiny.py", CONFIG))
    assert load_config(path) == CONFIG
    overrides = [
        "--config.training.epochs=2",
        "--config.data.flip=true",
        "--config.model.dropout_rate=0.5",
        "--config.data.mean=(0.1,0.2,0.3)",
        "--config.model.shape.width=32",
    ]
    config = load_config(path, overrides)
    assert config.training.epochs == 2.0
    assert config.data.flip
    assert config.model.dropout_rate == 0.5
    assert config.data.mean == (0.1, 0.2, 0.3)
    assert config.model.shape["width"] == 32
    assert load_config(path, ["--config.training.keep=4"]) == tiny(training={"keep": 4})


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.training.epoch=2", "'epoch'.*'epochs'"),
        ("--config.trainin.epochs=2", "'trainin'.*'training'"),
        ("--config.training.epochs=many", "epochs"),
        ("--config.training.batch_size=1.5", "batch_size"),
        ("--config.data.flip=perhaps", "flip is 'perhaps', but must be true or false"),
        ("--config.data=3", "config.data is a group of settings"),
        ("--config.training.seed.low=3", "unknown setting of config.training.seed 'low'"),
        ("--config.model.shape.width.low=3", "unknown setting of config.model.shape"),
        ("--config.model.shape.widht=3", "'widht'.*'width'"),
        ("--config.model.shape.width=nan", "width is 'nan', but must be a whole number from 1"),
        ("--config.model.variant=S/61", "variant 'S/61'.*'S/16'"),
        ("--config.data.mean=(0.5,0.5)", "mean is .*, but must be 3 numbers from -1000 to 1000"),
        ("--config.data.mean=" + 9000 * "(", "mean is .*, but must be 3 numbers from -1000 to 1000"),
        ("--config.training.seed=" + 5000 * "9", "seed is .*, but must be a whole number from 0 to 4294967295"),
        ("--config.data.path=a\0b", "path is 'a.x00b', but must be a text"),
    ],
)
def test_bad_overrides_are_told(tmp_path, override, message):
    path = write_config(tmp_path / "tiny.py", CONFIG)
    with pytest.raises(UserError, match=message):
        load_config(str(path), [override])


SETTINGS = [
    (group, name, kind) for group, holder in kinds_of(RunConfig).items() for name, kind in kinds_of(holder.type).items()
]
NUMBERS = [(group, name, kind) for group, name, kind in SETTINGS if kind.range]
NAMES = [(group, name, kind) for group, name, kind in SETTINGS if kind.choices]
IDS = "{0[0]}.{0[1]}".format


def test_every_number_has_a_range_and_every_name_its_choices():
    assert not [name for _, name, kind in SETTINGS if kind.type in (int, float) and kind.range is None]
    free = {name for _, name, kind in SETTINGS if kind.type is str and not kind.choices}
    assert free == {"family", "variant", "path", "classes", "train_split", "held_out_split"}


def just_outside(kind):
    low, high = kind.range.low, kind.range.high
    step = 1 if kind.type is int else 1e-7
    yield low if kind.range.above else low - step
    yield high if kind.range.below else high + max(step, abs(high) * 1e-12)


@pytest.mark.parametrize("setting", NUMBERS, ids=IDS)
def test_numbers_out_of_range_are_told(tmp_path, monkeypatch, setting):
    group, name, kind = setting
    path = str(write_config(tmp_path / "tiny.py", CONFIG))
    monkeypatch.setattr("nfnet.data.sources.open_source", None)
    wrong = [*just_outside(kind), -1001, math.nan, math.inf, -math.inf, 1e308, 10**10, 10**5000]
    for value in wrong:
        given = (value,) * kind.length if kind.many else value
        with pytest.raises(UserError) as error:
            from_mapping(RunConfig, {group: {name: given}})
        assert str(error.value).startswith(f"config.{group}.{name} is ")
        assert str(error.value).endswith(f", but must be {kind}.")
        with pytest.raises(UserError, match=re.escape(f"{group}.{name} is ")):
            tiny(**{group: {name: given}})
    for text in ("nan", "inf", "-inf", "1e308", "1e10", "-1001", "", "x", "[[1]]", "(0.1,0.2,nan)", "0x"):
        with pytest.raises(UserError) as error:
            load_config(path, [f"--config.{group}.{name}={text}"])
        assert str(error.value).startswith(f"config.{group}.{name} is ")
        assert str(kind.range) in str(error.value)


@pytest.mark.parametrize("setting", SETTINGS, ids=IDS)
def test_values_of_the_wrong_type_are_told(setting):
    group, name, kind = setting
    wrong = [b"x", 1j, object(), [], [None], {1}]
    wrong += [] if kind.type is bool else [True]
    wrong += [] if kind.type is str else ["x", "1"]
    wrong += [] if kind.type is float else [0.5]
    wrong += [] if kind.optional else [None]
    for value in wrong:
        with pytest.raises(UserError, match=rf"config\.{group}\.{name} is .*, but must be {re.escape(str(kind))}\."):
            from_mapping(RunConfig, {group: {name: value}})


@pytest.mark.parametrize("setting", NAMES, ids=IDS)
def test_misspelt_names_lead_to_the_nearest(setting):
    group, name, kind = setting
    for choice in kind.choices:
        with pytest.raises(UserError, match=rf"{group}\.{name} '{choice}_'.*the nearest is '{choice}'"):
            from_mapping(RunConfig, {group: {name: f"{choice}_"}})


def test_choices_are_those_that_there_are():
    choices = {f"{group}.{name}": set(kind.choices) for group, name, kind in NAMES}
    assert choices["optimiser.name"] == set(OPTIMISERS)
    assert choices["optimiser.schedule"] == set(SCHEDULES)
    assert choices["training.loss"] == set(LOSSES)
    assert choices["data.source"] == set(SOURCES)


def test_help_lists_every_setting():
    text = settings_help()
    for group, name, kind in SETTINGS:
        line = text.partition(f"\n  --config.{group}.{name}")[2].splitlines()
        default = getattr(getattr(RunConfig(), group), name)
        assert line[0] == (".KEY=VALUE" if name == "shape" else f"={kind} (default {default!r})")
        assert len(line[1].strip()) > 10  # what it means


def test_help_needs_neither_jax_nor_a_config():
    code = "import sys; from nfnet import train\ntry: train.main(['--help'])\nfinally: print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--config.training.seed=a whole number from 0 to 4294967295 (default 0)" in done.stdout
    assert done.stdout.endswith("False\n")


def test_python_without_docstrings_is_refused():
    for module in ("nfnet.train", "nfnet.describe"):
        arguments = ["F0"] if module == "nfnet.describe" else ["--config", "c", "--workdir", "w"]
        done = subprocess.run(
            [sys.executable, "-OO", "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert done.stderr.startswith("error: Python runs with -OO")
        assert done.stderr.count("\n") == 1


def test_bad_files_are_told(tmp_path):
    with pytest.raises(UserError, match="Missing configuration"):
        load_config(str(tmp_path / "none.py"))
    path = tmp_path / "bad.py"
    path.write_text("def get_config(): return 1 / 0")
    with pytest.raises(UserError, match=r"bad.py cannot be used: ZeroDivisionError"):
        load_config(str(path))
    path.write_text("from ml_collections import ConfigDict\ndef get_config(): return ConfigDict({'modle': {}})")
    with pytest.raises(UserError, match=r"'modle'.*'model'"):
        load_config(str(path))
    for text, said in (
        ("raise SystemExit(3)", "SystemExit, 3"),
        ("def get_config(:", "SyntaxError"),
        ("x = 1", "AttributeError"),
        ("def get_config(): raise ValueError('a\\x1b\\nb')", r"ValueError, a.x1b.nb"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=said):
            load_config(str(path))
    path.write_bytes(b"x = '\xff'")
    with pytest.raises(UserError, match="SyntaxError"):
        load_config(str(path))
    path.write_text("def get_config(): return 3")
    with pytest.raises(UserError, match="ConfigDict"):
        load_config(str(path))


def test_json_round_trip():
    import json

    config = tiny(model={"dropout_rate": 0.25})
    assert from_mapping(RunConfig, json.loads(json.dumps(config.as_dict()))) == config
    with pytest.raises(UserError, match=r"training.epochs is 'x', but must be a number above 0"):
        from_mapping(RunConfig, {"training": {"epochs": "x"}})


def test_configurations_name_no_folder_of_a_machine():
    for path in (*CONFIGS, *STUDIES):
        assert not re.search(r'"/\w+/', Path(path).read_text())
