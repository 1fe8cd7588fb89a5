import dataclasses
import json
import math
import os

import pytest

from nfnet.errors import UserError
from nfnet.training.run_log import Header, Metrics, RunLogWriter, check_log, read_run_log

HEADER = Header(
    config={"model": {"variant": "F0"}},
    code="abc",
    packages={"jax": "0.10"},
    device="cpu",
    devices=2,
    processes=1,
    seed=0,
    parameters=10,
    macs=20,
    examples=100,
    total_steps=30,
)


def metrics(step: int, **changes) -> Metrics:
    return dataclasses.replace(Metrics(step, 10 * step, step / 10, 1.5 * step, 60.0 * step), **changes)


def write(path, *steps, resumed_at=None, end=None):
    with RunLogWriter(path, HEADER, resumed_at) as log:
        for step in steps:
            log.metrics(metrics(step))
        if end:
            log.end(end, steps[-1])


def test_round_trip(tmp_path):
    path = tmp_path / "log.jsonl"
    lines = [
        metrics(10, train_loss=2.5, train_top1=0.25),
        metrics(20, held_out_loss=math.nan, held_out_top1=0.5, gradient_norm=math.inf),
    ]
    with RunLogWriter(path, HEADER) as log:
        for line in lines:
            log.metrics(line)
        log.end("finished", 20)
    read = read_run_log(path)
    assert read.header == HEADER
    assert read.metrics[0] == lines[0]
    assert read.metrics[1].gradient_norm == math.inf
    assert math.isnan(read.held_out_loss)
    assert read.held_out_top1 == 0.5
    assert read.finished
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_what_a_resumed_run_does_again_replaces_what_it_did(tmp_path):
    path = tmp_path / "log.jsonl"
    write(path, 5, 10, 15)
    before = path.read_bytes()
    write(path, 12, 20, resumed_at=10, end="finished")
    assert path.read_bytes().startswith(before)  # append-only
    read = read_run_log(path)
    assert [m.step for m in read.metrics] == [5, 10, 12, 20]
    assert (read.resumes, read.end) == ((10,), "finished")


def test_logs_of_earlier_versions_count_devices(tmp_path):
    path = tmp_path / "log.jsonl"
    write(path, 5)
    first, *rest = path.read_bytes().splitlines(True)
    former = {key: value for key, value in json.loads(first).items() if key != "cores_per_device"}
    path.write_bytes(b"".join([json.dumps(former).encode() + b"\n", *rest]))
    assert read_run_log(path).header.cores_per_device == 1


def test_half_written_lines_are_refused_and_mended_by_resuming(tmp_path):
    path = tmp_path / "log.jsonl"
    write(path, 5, 10)
    whole = path.read_bytes()
    for cut in (1, 20, len(whole.splitlines()[-1]) - 1):
        path.write_bytes(whole[:-cut])
        with pytest.raises(UserError, match="is truncated in its last line"):
            read_run_log(path)
        write(path, 7, resumed_at=5)
        assert [m.step for m in read_run_log(path).metrics] == [5, 7]


def test_the_log_of_a_run_without_checkpoint_is_put_aside(tmp_path):
    path = tmp_path / "log.jsonl"
    write(path, 5)
    write(path, 6)
    assert [m.step for m in read_run_log(path).metrics] == [6]
    assert [m.step for m in read_run_log(tmp_path / "log.jsonl.1").metrics] == [5]


def test_damaged_files_are_refused(tmp_path):
    path, other = tmp_path / "log.jsonl", tmp_path / "other.jsonl"
    write(path, 5, 10, 15)
    write(other, 5, 10)
    lines, others = path.read_bytes().splitlines(True), other.read_bytes().splitlines(True)
    for content, message in (
        (b"", "is empty"),
        (b"".join(lines[1:]), "has no header"),
        (b"".join(lines + others), "line 5: belongs to another run"),
        (b"".join([*lines, others[2]]), "line 5: belongs to another run"),
        (b"".join([lines[0], *lines[2:]]), "line 2: lines are missing or out of order"),
        (b"".join([lines[0], lines[2], lines[1]]), "line 2: lines are missing"),
        (b"".join([*lines[:2], b"oops\n", *lines[3:]]), "line 3: not a line of a run log"),
        (lines[0].replace(b'"format": 1', b'"format": 99'), "has format 99"),
        (lines[0].replace(b'"devices"', b'"divices"'), "line 1: .*devices"),
        (lines[0] + lines[1].replace(b'"metrics"', b'"musings"'), "unknown kind 'musings'"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=message):
            read_run_log(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_run_log(tmp_path / "none.jsonl")


def test_a_log_must_be_beside_its_checkpoints(tmp_path):
    with pytest.raises(UserError, match="beside its checkpoints"):
        RunLogWriter(tmp_path / "log.jsonl", HEADER, resumed_at=3)


def test_a_full_disk_is_one_sentence(tmp_path):
    path = tmp_path / "log.jsonl"
    path.symlink_to("/dev/full")
    with pytest.raises(UserError, match="No space left on device"):
        RunLogWriter(path, HEADER)


@pytest.mark.parametrize(
    ("line", "changes", "message"),
    [
        (0, {"devices": True}, "line 1: 'devices' is True, but must be an integer"),
        (0, {"packages": {"jax": 1}}, "line 1: 'packages' is .* each value is text"),
        (0, {"seed": -1}, "line 1: 'seed' is -1"),
        (0, {"line": 0.0}, "line 1: 'line' is 0.0"),
        (2, {"step": -5}, "line 3: 'step' is -5"),
        (2, {"step": 2}, "line 3: 'step' goes back from 5 to 2"),
        (2, {"epochs": "nan"}, "line 3: 'epochs' is 'nan', but must be a finite number"),
        (2, {"train_loss": "x"}, "line 3: 'train_loss' is 'x', but must be a number"),
        (2, {"kind": []}, "line 3: 'kind' is"),
    ],
)
def test_fields_of_another_type_are_told(tmp_path, line, changes, message):
    path = tmp_path / "log.jsonl"
    write(path, 5, 10)
    lines = path.read_text().splitlines(True)
    lines[line] = json.dumps({**json.loads(lines[line]), **changes}) + "\n"
    path.write_text("".join(lines))
    with pytest.raises(UserError, match=message):
        read_run_log(path)


@pytest.mark.parametrize("text", [b"\xff", b"[" * 100_000, b'{"line": ' + b"9" * 5000 + b"}"])
def test_lines_that_are_no_json_are_told(tmp_path, text):
    path = tmp_path / "log.jsonl"
    write(path, 5)
    path.write_bytes(path.read_bytes() + text + b"\n")
    with pytest.raises(UserError, match="line 3: not a line of a run log"):
        read_run_log(path)


def test_a_run_killed_within_its_first_line_starts_again(tmp_path):
    path = tmp_path / "log.jsonl"
    write(path, 5)
    header = path.read_bytes().splitlines(True)[0]
    for cut in range(0, len(header) - 1, 7):  # what lacks its line end only is whole, and put aside
        path.write_bytes(header[:cut])
        write(path, 5)
        assert [m.step for m in read_run_log(path).metrics] == [5]
    assert [file.name for file in tmp_path.iterdir()] == ["log.jsonl"]


@pytest.mark.parametrize("content", [b"mine", b"mine\nand more", b'{"mine": 1}'])
def test_files_of_others_are_never_cut(tmp_path, content):
    path = tmp_path / "log.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"log\.jsonl"):
        RunLogWriter(path, HEADER, resumed_at=3)
    assert path.read_bytes() == content
    write(path, 5)
    assert (tmp_path / "log.jsonl.1").read_bytes() == content


def test_what_is_no_file_is_no_log(tmp_path):
    folder, loop, pipe = (tmp_path / name for name in ("folder", "loop", "pipe"))
    folder.mkdir()
    loop.symlink_to(loop)
    os.mkfifo(pipe)
    for path in (folder, loop, pipe):
        for use in (check_log, lambda path: RunLogWriter(path, HEADER), read_run_log):
            with pytest.raises(UserError, match=path.name):
                use(path)
