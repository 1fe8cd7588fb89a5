import re
from pathlib import Path

import pytest
from support.tiny_runs import CONFIG, ROOT, tiny, write_config

from nfnet.errors import UserError
from nfnet.training.config import RunConfig, from_mapping, load_config
from nfnet.training.recipe import make_network, make_optimiser, make_schedule, parameter_shapes
from nfnet.training.step import StepConfig
from nfnet.training.sweep import Trial, load_study, run_arguments

CONFIGS = sorted(p for p in (ROOT / "nfnet/configs").glob("*.py") if p.name != "__init__.py")
STUDIES = sorted((ROOT / "nfnet/configs/studies").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_provided_configurations_make_sense(path):
    config = load_config(str(path))
    StepConfig.of(config)
    parameter_shapes(make_network(config.model), config.data.image_size)
    schedule = make_schedule(config.optimiser, 100_000, 1000)
    make_optimiser(config.optimiser, schedule)
    assert float(schedule(100_000)) < 1e-4 * config.optimiser.learning_rate
    rates = [float(schedule(step)) for step in range(0, 100_000, 500)]
    assert max(rates) == pytest.approx(config.optimiser.learning_rate, rel=1e-3)


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
        ("--config.data.flip=perhaps", "flip"),
    ],
)
def test_bad_overrides_are_told(tmp_path, override, message):
    path = write_config(tmp_path / "tiny.py", CONFIG)
    with pytest.raises(UserError, match=message):
        load_config(str(path), [override])


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
    path.write_text("def get_config(): return 3")
    with pytest.raises(UserError, match="ConfigDict"):
        load_config(str(path))


def test_json_round_trip():
    import json

    config = tiny(model={"dropout_rate": 0.25})
    assert from_mapping(RunConfig, json.loads(json.dumps(config.as_dict()))) == config
    with pytest.raises(UserError, match=r"training.epochs is 'x', but it needs a value of type float"):
        from_mapping(RunConfig, {"training": {"epochs": "x"}})


def test_configurations_name_no_folder_of_a_machine():
    for path in (*CONFIGS, *STUDIES):
        assert not re.search(r'"/\w+/', Path(path).read_text())
