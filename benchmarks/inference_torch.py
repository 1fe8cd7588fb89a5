"""Forward passes of timm's NFNets and of ONNX files. A plain script for an interpreter with torch, timm, onnxruntime.

As `inference_torch.py make FOLDER SETTINGS` it writes what all implementations share: timm's random network with gains
that are not those of its start (timm.safetensors), images (images.npy) and timm's own ONNX export (timm.onnx).
"""

import importlib.util
import json
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def load_beside(name):  # type: ignore[no-untyped-def]
    """Imports a module of this folder by its path."""
    spec = importlib.util.spec_from_file_location(name, os.path.join(HERE, f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


worker_torch = load_beside("worker_torch")  # which also takes this folder from the path


def _timm():  # type: ignore[no-untyped-def]
    if importlib.util.find_spec("torchvision") is None:
        sys.meta_path.insert(0, worker_torch.TorchvisionStandIn())
    import timm

    return timm


def make(folder, settings):  # type: ignore[no-untyped-def]
    """Writes weights, images and timm's export."""
    timm = _timm()
    import numpy as np
    import torch
    from safetensors.torch import save_file
    from timm.utils.onnx import onnx_export

    torch.manual_seed(0)
    side = settings["resolution"]
    timm.layers.set_exportable(True)
    network = worker_torch.make_network(settings).eval()
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith("skipinit_gain"):
                value.fill_(0.5)
            elif name.endswith("bias"):
                value.normal_(0, 0.1)
            elif name.endswith("gain"):
                value.add_(0.1 * torch.randn_like(value))
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, f"{folder}/timm.safetensors")
    images = torch.randn(max(settings["batches"]), 3, side, side)
    np.save(f"{folder}/images.npy", images.numpy())
    # timm's own command, onnx_export.py, in the form that it recommends.
    onnx_export(
        network, f"{folder}/timm.onnx", example_input=images, input_size=(3, side, side), use_dynamo=True, check=False
    )


def prepare(settings):  # type: ignore[no-untyped-def]
    """Builds what the settings name and returns its step and description."""
    import numpy as np

    images = np.load(f"{settings['folder']}/images.npy")[: settings["batch"]]
    threads = os.cpu_count() or 1
    start = time.perf_counter()
    if "onnx" in settings:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(settings["onnx"], options, providers=["CPUExecutionProvider"])
        given = {session.get_inputs()[0].name: images}
        packages = {"onnxruntime": onnxruntime.__version__}

        def logits():  # type: ignore[no-untyped-def]
            return session.run(None, given)[0]
    else:
        timm = _timm()
        import torch
        from safetensors.torch import load_file

        torch.set_num_threads(threads)
        network = worker_torch.make_network(settings).eval()
        network.load_state_dict(load_file(f"{settings['folder']}/timm.safetensors"))
        compiled = torch.compile(network)
        batch = torch.from_numpy(images)
        packages = {"torch": torch.__version__, "timm": timm.__version__}

        def logits():  # type: ignore[no-untyped-def]
            with torch.inference_mode():
                return compiled(batch).numpy()

    first = logits()
    ready = time.perf_counter() - start
    return logits, {"compile_s": ready, "logits": np.asarray(first).tolist(), "packages": packages}


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], json.loads(sys.argv[3]))
    else:
        load_beside("protocol").serve(prepare)
