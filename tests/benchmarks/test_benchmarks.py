"""The benchmarks' parts: statistics, machine, files, driver, workers, command lines. No test looks at a clock."""

import json
import math
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks import driver, machine, model, pipeline, report, reproduce, scaling, timing, worker_jax
from benchmarks.driver import Worker, interleave
from nfnet.errors import UserError
from paper.benchmarks import load_speeds

TINY = {"widths": [16, 32], "depths": [1, 2], "strides": [1, 2], "group_width": 8}
TINY |= {"stem_widths": [8], "stem_strides": [2, 1]}
FAKE = """
import json, sys
settings = json.loads(sys.argv[1])
if settings.get("fail"):
    sys.exit("no such network")
print(json.dumps({"compile_s": settings.get("compile_s", 1.0)}), flush=True)
for number, _ in enumerate(sys.stdin):
    with open(settings["log"], "a") as file:
        file.write(settings["name"])
    if number == settings.get("last", 99):
        sys.exit("out of memory")
    print(json.dumps({"seconds": settings["seconds"] * (number + 1)}), flush=True)
print(json.dumps({"peak_rss_bytes": 5}), flush=True)
"""


def fake(name: str, log: Path, seconds: float = 1.0, **settings) -> partial:
    command = [sys.executable, "-c", FAKE]
    return partial(Worker, name, command, {"name": name, "log": str(log), "seconds": seconds, **settings}, {})


def test_summary_and_ratios() -> None:
    assert timing.summary([3.0, 1.0, 2.0]) == {"median": 2.0, "low": 1.0, "high": 3.0}
    # A machine that slows down tenfold between rounds changes no ratio.
    assert timing.ratios([4.0, 40.0], [2.0, 20.0]) == {"median": 2.0, "low": 2.0, "high": 2.0}
    with pytest.raises(ValueError, match="zip"):
        timing.ratios([1.0], [1.0, 2.0])


def test_slope_is_the_exponent() -> None:
    x = np.array([1.0, 2.0, 4.0])
    assert timing.slope(x, 3 * x**1.5) == pytest.approx(1.5)


def test_machine_names_what_changes_speed() -> None:
    found = machine.describe({"XLA_FLAGS": "--a", "HOME": "x", "GLIBC_TUNABLES": driver.HUGE_PAGES})
    assert found["environment"] == {"GLIBC_TUNABLES": driver.HUGE_PAGES, "XLA_FLAGS": "--a"}
    assert found["cores"] >= 1
    assert found["ram_gib"] > 0
    assert found["packages"]["jax"]
    json.dumps(found, allow_nan=False)


def test_json_is_replaced_in_one_go(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    report.write_json(path, {"a": [1, None]})
    assert json.loads(path.read_text()) == {"a": [1, None]}
    with pytest.raises(ValueError, match="JSON"):
        report.write_json(path, {"a": math.nan})
    assert [file.name for file in path.parent.iterdir()] == ["a.json"]
    assert json.loads(path.read_text()) == {"a": [1, None]}
    with pytest.raises(UserError, match="choose another --out"):
        report.write_json(path / "b.json", {})


def test_workers_step_in_turn(tmp_path: Path) -> None:
    log = tmp_path / "log"
    first, second = interleave([fake("A", log), fake("B", log, 10.0)], 2, lambda line: None)
    assert log.read_text() == "ABABAB"  # one warm-up and two rounds
    assert (first["steps"], second["steps"]) == ([2.0, 3.0], [20.0, 30.0])
    assert (first["name"], first["compile_s"], first["peak_rss_bytes"]) == ("A", 1.0, 5)


def test_workers_compile_in_turn(tmp_path: Path) -> None:
    lines: list[str] = []
    first, second = interleave(
        [fake("A", tmp_path / "log"), fake("B", tmp_path / "log", compile_s=None)], 1, lines.append, compilations=3
    )
    assert (first["compile_s"], first["compilations"]) == (1.0, [1.0, 1.0, 1.0])
    assert (second["compile_s"], second["compilations"]) == (None, [])
    assert [line.split()[2] for line in lines[:4]] == ["A", "B", "A", "B"]
    assert lines[1].endswith("B does not compile")
    assert (first["steps"], second["steps"]) == ([2.0], [2.0])  # the last ones', after a warm-up


@pytest.mark.parametrize(("settings", "words"), [({"fail": True}, "no such network"), ({"last": 1}, "out of memory")])
def test_a_worker_that_dies_is_named_with_its_last_words(tmp_path: Path, settings: dict, words: str) -> None:
    with pytest.raises(UserError, match=f"worker of B ended with code 1 .{words}"):
        interleave([fake("A", tmp_path / "log"), fake("B", tmp_path / "log", **settings)], 3, lambda line: None)


def test_allocator_is_the_same_for_all() -> None:
    assert driver.environment("hugepages")["GLIBC_TUNABLES"] == driver.HUGE_PAGES
    assert driver.environment(XLA_FLAGS="x")["XLA_FLAGS"] == "x"


@pytest.mark.parametrize("mode", [pytest.param("train", marks=pytest.mark.slow), "forward"])
def test_a_tiny_network_takes_steps(mode: str) -> None:
    settings = {"implementation": "ours", "mode": mode, "network": TINY, "resolution": 16, "batch": 2}
    step, info = worker_jax.prepare({**settings, "dtype": "float32", "classes": 3})
    step()
    step()
    assert info["macs_per_image"] > 0
    assert info["devices"] == 1
    assert info["platform"] == "cpu"


def test_matmul_worker_reports_its_side() -> None:
    step, info = worker_jax.prepare({"implementation": "matmul", "dtype": "float32", "sides": [8, 16]})
    step()
    assert info["side"] in (8, 16)


@pytest.mark.parametrize(
    ("main", "arguments", "words"),
    [
        (model.main, ["--variant", "F9"], "unknown variant 'F9'"),
        (model.main, ["--modes", "sleep"], "--modes is 'sleep'"),
        (model.main, ["--released", "nowhere"], "holds no nfnets/nfnet.py"),
        (model.main, ["--resolution", "4"], "too small"),
        (pipeline.main, ["--variant", "F9"], "unknown variant 'F9'"),
        (scaling.main, ["--sweeps", "dept"], "unknown sweep 'dept'"),
        (scaling.main, ["--sweeps", "depth", "--variants", "F0"], "at least two"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(main, arguments, words, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_copy_needs_a_checkout(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no git checkout"):
        reproduce.copy_tree(tmp_path, tmp_path / "copy")


def test_torch_worker_runs_without_ours(tmp_path: Path) -> None:
    # Isolated from this checkout, and from torch: it gets as far as importing that.
    script = Path(model.__file__).with_name("worker_torch.py")
    run = subprocess.run(
        [sys.executable, "-I", "-S", str(script), "{}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "No module named 'torch'" in run.stderr


def test_sweep_grows_one_thing() -> None:
    base = {"network": model.MICRO, "batch": 4, "resolution": 32}
    assert [size for size, _ in scaling.points("depth", base)] == [12, 24, 48]
    assert [changed["batch"] for _, changed in scaling.points("batch", base)] == [4, 8, 16]
    assert [changed["network"]["widths"][0] for _, changed in scaling.points("width", base)] == [32, 64, 128]


def measured() -> dict:
    one = driver.Measured(name="ours", steps=[1.0, 2.0], macs_per_image=10, compile_s=None, compilations=[])
    one |= {"temp_bytes": None, "peak_rss_bytes": 2**20}
    result = model._result("train", one, [one], 4, 240.0)
    settings = {"network": "F0", "resolution": 192, "batch": 4, "dtype": "float32", "allocator": "default"}
    return {"settings": settings, "results": [result]} | {
        "machine": {"device_kind": "cpu", "cores": 2, "cpu": "C", "commit": "c", "date": "d", "packages": {"jax": "1"}}
    }


def test_flops_and_share_of_peak() -> None:
    (one,) = measured()["results"]
    assert one["flops_per_s"] == 6 * 10 * 4 / 1.5
    assert one["share_of_peak"] == pytest.approx(one["flops_per_s"] / 240)
    assert len(model.rows_of(measured())[0]) == len(model._COLUMNS)


def test_speeds_are_loaded_and_checked(tmp_path: Path) -> None:
    assert load_speeds(tmp_path).empty
    path = tmp_path / "model.json"
    report.write_json(path, measured())
    table = load_speeds(tmp_path)
    assert (table.seconds[0], table.network[0], table.allocator[0]) == (1.5, "NFNet-F0", "default")
    assert math.isnan(table.speedup[0])
    for spoil, words in (
        (lambda record: record["results"][0].pop("seconds"), "lacks the field 'seconds'"),
        (lambda record: record["results"][0]["seconds"].update(low=-1.0), "must be above 0"),
        (lambda record: record["results"][0].update(mode="sleep"), "one of train, forward"),
        (lambda record: record.update(results=[]), "holds no results"),
    ):
        record = measured()
        spoil(record)
        report.write_json(path, record)
        with pytest.raises(UserError, match=words):
            load_speeds(tmp_path)
    path.write_text("{")
    with pytest.raises(UserError, match=r"model\.json is no result"):
        load_speeds(tmp_path)
