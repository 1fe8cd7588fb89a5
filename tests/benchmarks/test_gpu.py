"""The measurement of an accelerator, with workers that pretend to be one, and the folder that it needs."""

import hashlib
import json
import sys
from functools import partial
from pathlib import Path

import pytest

from benchmarks import gpu
from benchmarks.driver import Worker
from nfnet.cost.cost import network_cost, training_bytes
from nfnet.errors import UserError
from tools import device_bundle, measurements

FAKE = """
import json, sys, time
settings = json.loads(sys.argv[1])
name, network = settings["implementation"], settings.get("network", "")
if settings.get("mode") == "forward":
    time.sleep(60)
if network == "F0":
    sys.exit("RESOURCE_EXHAUSTED: out of memory")
info = {"compile_s": 2.0, "temp_bytes": 5, "device_kind": "NVIDIA H100 80GB HBM3", "platform": "cuda", "side": 8}
info |= {"memory_bytes": 80 * 10**9} | ({} if name == "timm compile" else {"macs_per_image": 10**9})
print(json.dumps(info), flush=True)
seconds = {"ours": 0.5, "released": 1.0, "timm compile": 2.0, "matmul": 1e-12}[name]
for line in sys.stdin:
    kernels = None if name == "timm compile" else {"filters": 0.4, "sums": 0.2}
    print(json.dumps({"kernels": kernels} if line == "profile\\n" else {"seconds": seconds}), flush=True)
print(json.dumps({"peak_rss_bytes": 5, "peak_device_bytes": 7}), flush=True)
"""


def worker(name, settings, env, seconds=None) -> Worker:
    return Worker(name, [sys.executable, "-c", FAKE], settings, env, seconds)


def test_measures_what_it_can_and_names_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "jax_worker", worker)
    monkeypatch.setattr(gpu, "torch_worker", lambda python, *rest: worker(*rest))
    monkeypatch.setattr(gpu, "_MEASURING", 10.0)
    monkeypatch.setattr(gpu, "_pipeline", lambda *_: {"images_per_s": 3.0, "workers": 2})
    (tmp_path / "nfnets").mkdir()
    (tmp_path / "nfnets" / "nfnet.py").touch()
    out = tmp_path / "gpu.json"
    arguments = ["--released", str(tmp_path), "--timm-python", "python", "--networks", "F3,F7+,F0", "--queued", "2"]
    assert gpu.main([*arguments, "--rounds", "2", "--seconds", "30", "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    found = {(one["network"], one["mode"], one["implementation"]): one for one in record["results"] if not one["flags"]}
    assert set(found) == {("F3", "train", name) for name in ("ours", "released", "timm compile")} | {
        ("F7+", "train", "ours")
    }
    ours = found["F3", "train", "ours"]
    assert (ours["steps"], ours["speedup"]["median"], ours["peak_device_bytes"]) == ([0.25, 0.25], 2.0, 7)
    assert ours["utilisation"] == 6 * 10**9 * ours["batch"] / 0.25 / 989e12
    assert (ours["kernels_s"]["filters"], ours["kernels_s"]["copies"]) == (0.2, 0.0)
    assert found["F3", "train", "timm compile"]["kernels_s"] is None
    why = {one["case"]: one["why"] for one in record["unfinished"]}
    assert "out of memory" in why["F0 train at 224 px"]
    assert "not ready after" in why["F3 forward at 416 px"]
    forward = {f"{name} forward at {side} px" for name, side in (("F3", 416), ("F7+", 608), ("F0", 256))}
    assert set(why) == {"F0 train at 224 px"} | forward | {f"F0 train at 224 px {flag}" for flag in gpu.FLAGS}
    assert "F3" in capsys.readouterr().out
    table = measurements.accelerator(out)
    assert f"| F3 | training | 224 | {ours['batch']} | released |" in table
    assert "could not be measured" in table


def test_needs_an_accelerator(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def on_cpu(*arguments) -> Worker:
        found = worker(*arguments)
        found.info["platform"] = "cpu"
        return found

    monkeypatch.setattr(gpu, "jax_worker", on_cpu)
    assert gpu.main(["--networks", "F0"]) == 2
    assert "sees no accelerator" in capsys.readouterr().err


def test_steps_end_with_the_time() -> None:
    with pytest.raises(TimeoutError), gpu._limited(0.05):
        worker("ours", {"implementation": "ours", "mode": "forward"}, {})


@pytest.mark.parametrize(
    ("instruction", "kernel", "kind"),
    [
        ("cudnn-conv.488", "sm90_xmma_fprop_implicit_gemm_bf16bf16", "convolutions"),
        ("cudnn-conv-bw-filter.7", "nvjet_sm90_tst_64x192", "filters"),
        ("cudnn-conv.3", "nchwToNhwcKernel", "transposes"),
        ("command_buffer_1", "input_convert_transpose_fusion_90", "transposes"),
        ("command_buffer_2", "input_add_reduce_fusion_39", "sums"),
        ("command_buffer_3", "loop_add_convert_fusion", "elementwise"),
        ("command_buffer_4", "gemm_fusion_dot_3", "products"),
        ("command_buffer_5", "cublasLt splitKreduce_kernel", "products"),
        ("x", "MemcpyD2D", "copies"),
    ],
)
def test_kinds_of_kernels(instruction: str, kernel: str, kind: str) -> None:
    assert gpu.kind_of_kernel(instruction, kernel) == kind
    assert kind in gpu.KERNELS


def test_batch_is_found_by_doubling() -> None:
    alone, beside = gpu.Case("F3", "train", 224), gpu.Case("F3", "train", 224, ("ours", "released", "timm compile"))
    cost = network_cost("F3", 224)
    batch = gpu.fitting_batch(alone, 80 * 10**9, 1024)
    assert training_bytes(cost, batch) <= 80e9 * 0.85 < training_bytes(cost, 2 * batch)
    assert gpu.fitting_batch(beside, 80 * 10**9, 1024) < batch
    assert gpu.fitting_batch(alone, 80 * 10**9, 64) == 64


def folder(tmp_path: Path, name: str) -> Path:
    made = tmp_path / "device"
    for path in ("wheels", "released/nfnets"):
        (made / path).mkdir(parents=True)
    for file in device_bundle.RELEASED:
        (made / "released" / "nfnets" / file).touch()
    (made / "wheels" / f"{name}-1.0-py3-none-any.whl").write_bytes(b"wheel")
    return made


def test_bundle_is_checked_against_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = folder(tmp_path, "dm_haiku")
    lock = tmp_path / "dev.lock"
    monkeypatch.setattr(device_bundle, "LOCK", lock)
    digest = hashlib.sha256(b"wheel").hexdigest()
    lock.write_text(f"absl-py==1 \\\n    --hash=sha256:0\ndm-haiku==1.0 \\\n    --hash=sha256:{digest}\n    # via x\n")
    assert device_bundle.check(made, ["dm-haiku"]) == 5
    assert "# via" not in device_bundle.pins(lock.read_text(), ["dm-haiku"])["dm-haiku"]
    fails = partial(pytest.raises, UserError)
    with fails(match="does not pin grain"):
        device_bundle.check(made, ["grain"])
    with fails(match="holds no wheel of absl-py"):
        device_bundle.check(made, ["absl-py"])
    monkeypatch.setattr(device_bundle, "LARGEST", 4)
    with fails(match="5 bytes, more than 4"):
        device_bundle.check(made, ["dm-haiku"])
    (made / "wheels" / "dm_haiku-1.0-py3-none-any.whl").write_bytes(b"other")
    with fails(match="is not the file that dev.lock pins"):
        device_bundle.check(made, ["dm-haiku"])
    (made / "released" / "nfnets" / "base.py").unlink()
    lock.write_text(lock.read_text().replace(digest, hashlib.sha256(b"other").hexdigest()))
    with fails(match=r"holds no nfnets/base\.py"):
        device_bundle.check(made, ["dm-haiku"])
    with fails(match="holds no nfnets/nfnet"):
        device_bundle.prepare(made, tmp_path, ["dm-haiku"], "3.12")
