"""Steps of timm's NFNets. A plain script for an interpreter that has torch and timm; it imports nothing of ours."""

import dataclasses
import enum
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import os
import sys
import time
import types

# Modules beside this script must not stand before those of torch.
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != HERE]


def load_protocol():  # type: ignore[no-untyped-def]
    """Imports `protocol.py` by its path."""
    spec = importlib.util.spec_from_file_location("protocol", os.path.join(HERE, "protocol.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TorchvisionStandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Lets timm import names of torchvision that its NFNets never use."""

    def find_spec(self, fullname, path, target=None):  # type: ignore[no-untyped-def]
        """Claims every module below torchvision."""
        if fullname.split(".")[0] == "torchvision":
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec):  # type: ignore[no-untyped-def]
        """Makes a module that has any class asked of it."""
        import torch

        class StandIn(types.ModuleType):
            def __getattr__(self, name: str) -> type:
                if name.startswith("__"):
                    raise AttributeError(name)
                return type(name, (torch.nn.Module,), {})

        module = StandIn(spec.name)
        if spec.name.startswith("torchvision.transforms"):
            modes = "NEAREST BILINEAR BICUBIC BOX HAMMING LANCZOS NEAREST_EXACT"
            module.InterpolationMode = enum.Enum("InterpolationMode", modes)  # type: ignore[attr-defined, misc]
        return module

    def exec_module(self, module):  # type: ignore[no-untyped-def]
        """Leaves the module as it is."""


def make_network(settings):  # type: ignore[no-untyped-def]
    """Returns timm's network of the same architecture."""
    import timm
    from timm.models import nfnet

    network, classes = settings["network"], settings["classes"]
    rates = {"drop_path_rate": 0.1, "drop_rate": 0.2}
    if isinstance(network, str):
        return timm.create_model(f"dm_nfnet_{network.lower()}", pretrained=False, num_classes=classes, **rates)
    widths, group = tuple(network["widths"]), network["group_width"]
    config = nfnet._dm_nfnet_cfg(depths=tuple(network["depths"]), channels=widths)
    config = dataclasses.replace(config, group_size=group, stem_chs=widths[0] // 2)
    made = nfnet.NormFreeNet(config, num_classes=classes, **rates)
    channels = (3, 16, 32, 64, widths[0] // 2)  # timm's stem scales with its last width; the released one does not
    for number, (before, after) in enumerate(itertools.pairwise(channels), 1):
        former = getattr(made.stem, f"conv{number}")
        setattr(made.stem, f"conv{number}", type(former)(before, after, kernel_size=3, stride=former.stride[0]))
    return made


def peak_device_bytes():  # type: ignore[no-untyped-def]
    """Returns the most memory of the GPU that was in use at once, None without one."""
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None


def prepare(settings):  # type: ignore[no-untyped-def]
    """Builds the network and returns its step and description."""
    import torch

    if importlib.util.find_spec("torchvision") is None:
        sys.meta_path.insert(0, TorchvisionStandIn())
    import timm
    from timm.models import model_parameters
    from timm.utils.agc import adaptive_clip_grad

    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = getattr(torch, settings["dtype"])
    network = make_network(settings).to(device)
    batch, side = settings["batch"], settings["resolution"]
    images = torch.randn(batch, 3, side, side, device=device)
    if device.type == "cuda":  # as timm's own training, and the layout of tensor cores
        torch.backends.cudnn.benchmark = True
        network, images = (one.to(memory_format=torch.channels_last) for one in (network, images))
    labels = torch.arange(batch, device=device) % settings["classes"]
    called = torch.compile(network) if settings["implementation"] == "timm compile" else network

    def finish():  # type: ignore[no-untyped-def]
        if device.type == "cuda":
            torch.cuda.synchronize()

    def logits():  # type: ignore[no-untyped-def]
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            return called(images)

    if settings["mode"] == "train":
        network.train()
        optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=2e-5)
        clipped = list(model_parameters(network, exclude_head=True))

        def once():  # type: ignore[no-untyped-def]
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(logits().float(), labels).backward()
            adaptive_clip_grad(clipped, 0.01)
            optimiser.step()
    else:
        network.eval()

        def once():  # type: ignore[no-untyped-def]
            with torch.inference_mode():
                logits()

    def step():  # type: ignore[no-untyped-def]
        for _ in range(settings.get("queued", 1)):
            once()
        finish()

    start = time.perf_counter()
    step()
    first = time.perf_counter() - start
    start = time.perf_counter()
    step()
    compile_s = first - (time.perf_counter() - start) if called is not network else None
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return step, {
        "compile_s": compile_s,
        "temp_bytes": None,
        "device_kind": kind,
        "packages": {"torch": torch.__version__, "timm": timm.__version__},
    }


if __name__ == "__main__":
    load_protocol().serve(prepare, peak_device_bytes)
