"""The command line `python -m nfnet.describe`."""

import json
import subprocess
import sys

import pytest

from nfnet.cost.cost import network_cost
from nfnet.describe import main


def test_table_holds_every_part_and_the_totals(capsys):
    main(["F7+", "--resolution", "224"])
    text = capsys.readouterr().out
    cost = network_cost("F7+", 224)
    for stage in cost.stages:
        (line,) = [line for line in text.splitlines() if line.startswith(stage.name)]
        assert f"{stage.parameters:,}" in line
        assert f"{stage.macs:,}" in line
    assert f"{cost.parameters:,}" in text
    assert "832.89 M" in text
    assert "111.18 GMACs" in text
    assert "published" in text


def test_json_is_the_cost(capsys):
    main(["F1+", "--resolution", "64", "--plus-width", "released", "--num-classes", "10", "--json"])
    printed = json.loads(capsys.readouterr().out)
    cost = network_cost("F1+", 64, plus_width="released", num_classes=10)
    assert printed["parameters"] == cost.parameters
    assert printed["macs"] == cost.macs
    assert len(printed["stages"]) == 6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["F9"], ("'F9'", "F0, F1", "nearest is")),
        (["f7+"], ("'f7+'", "nearest is 'F7+'")),
        (["F0", "--resolution", "8"], ("8", "at least 17")),
        (["F0", "--resolution", "1000000000000"], ("resolution", "from 1 to 16384")),
        (["F0", "--head", "map"], ("head is 'map'", "NFNets have no such setting")),
        (["S/16", "--plus-width", "released"], ("plus_width is 'released'", "ViTs have no such setting")),
        (["F0", "--num-classes", "0"], ("num_classes", "from 1 to 1000000")),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for word in words:
        assert word in error


def test_help_needs_no_jax():
    code = (
        "import sys, contextlib\n"
        "from nfnet.describe import main\n"
        "with contextlib.suppress(SystemExit):\n"
        "    main(['--help'])\n"
        "assert 'jax' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("variant", ["F0", "micro/4"])
def test_counting_starts_no_backend(variant):
    code = (
        "import jax._src.xla_bridge as bridge\n"
        "from nfnet.describe import main\n"
        f"main(['{variant}', '--resolution', '32'])\n"
        "assert not bridge.backends_are_initialized()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
