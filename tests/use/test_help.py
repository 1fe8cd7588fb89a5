"""`--help` says what a newcomer needs: every setting with type, range, unit, default and meaning."""

import dataclasses
import re

import pytest

from nfnet import evaluate, finetune, train
from nfnet.ranges import Range, kinds_of, meanings
from nfnet.training.config import RunConfig, settings_help
from nfnet.training.config_file import load_config

SETTINGS = [
    (group, name, kind) for group, holder in kinds_of(RunConfig).items() for name, kind in kinds_of(holder.type).items()
]
# Ratios, and numbers that only the method gives a meaning.
WITHOUT_UNIT = {
    "stochastic_depth_rate", "dropout_rate", "logit_bias", "min_area", "randaugment_magnitude", "mixup_alpha",
    "cutmix_alpha", "mean", "std", "unreadable_share", "learning_rate", "weight_decay", "head_weight_decay", "momentum",
    "clipping", "clip_norm", "ema_decay", "sam_rho", "sam_fraction", "seed", "label_smoothing",
}  # fmt: skip


@pytest.mark.parametrize("command", [train, finetune, evaluate])
def test_every_setting_is_in_the_help(command, capsys):
    with pytest.raises(SystemExit) as raised:
        command.main(["digits", "--help"])
    assert raised.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: {command.__name__.replace('.', ' ')}")
    assert settings_help() in text


def test_what_is_counted_has_a_unit():
    numbers = {name: kind.range for _, name, kind in SETTINGS if kind.range}
    assert {name for name, limits in numbers.items() if not limits.unit} == WITHOUT_UNIT
    text = settings_help()
    assert "--config.data.image_size=a whole number from 1 to 4096 px (default 224)" in text
    assert "--config.training.epochs=a number above 0 and at most 1000000 epochs (default 1.0)" in text


def test_ranges_read_well():
    assert str(Range(0, 10)) == "from 0 to 10"
    assert str(Range(0, 10, unit="px")) == "from 0 to 10 px"
    assert str(Range(0, 1, above=True, below=True, unit="epochs")) == "above 0 and less than 1 epochs"


def test_every_setting_has_a_meaning_and_every_meaning_a_setting():
    for group in dataclasses.fields(RunConfig):
        settings = type(getattr(RunConfig(), group.name))
        assert set(meanings(settings)) == set(kinds_of(settings))


def test_the_unit_is_in_the_error():
    with pytest.raises(ValueError, match=re.escape("image_size is 0, but must be a whole number from 1 to 4096 px.")):
        load_config("digits", ["--config.data.image_size=0"])


def test_values_may_follow_a_space_beside_a_named_configuration(tmp_path, capsys):
    """A value of an override is not taken for the configuration."""
    assert (
        train.main(["--config.data.path", "x", "--config.training.seed", "-1", "digits", f"--workdir={tmp_path}"]) == 2
    )
    assert "training.seed is -1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits", "--config", "digits"], "Two configurations are given, digits and --config digits"),
        (["digits", "--data", "a", "--config.data.path=b"], "Both --data and --config.data.path are given"),
    ],
)
def test_what_is_said_twice_is_told(arguments, message, capsys):
    assert train.main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--workdir", "w"]])
def test_a_missing_configuration_is_told(arguments, capsys):
    with pytest.raises(SystemExit) as raised:
        train.main(arguments)
    assert raised.value.code == 2
    assert "a configuration is missing" in capsys.readouterr().err
