"""A folded NFNet as an ONNX graph: convolutions, activations and gates, in the layout that ONNX Runtime knows best."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nfnet.errors import UserError
from nfnet.files import replacing, require_replaceable
from nfnet.inference.fold import ROOT, Params
from nfnet.models.nfnet import BlockConfig, NFNetConfig

OPSET = 20  # the first with Gelu
_LARGEST = 2**31 - 2**24
_OPERATORS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "gelu": ("Gelu", {"approximate": "tanh"}),
    "gelu_erf": ("Gelu", {"approximate": "none"}),
    "relu": ("Relu", {}),
    "elu": ("Elu", {}),
    "celu": ("Celu", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.01}),
    "selu": ("Selu", {}),
    "sigmoid": ("Sigmoid", {}),
    "soft_sign": ("Softsign", {}),
    "softplus": ("Softplus", {}),
    "tanh": ("Tanh", {}),
    "identity": ("Identity", {}),
}


class _Graph:
    """Collects nodes and weights; every method adds an operation and returns the name of its result."""

    def __init__(self, params: Params):
        self.params = params
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def node(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        from onnx import helper

        output = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def weight(self, name: str, values: np.ndarray) -> str:
        from onnx import numpy_helper

        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype=np.float32), name))
        return name

    def conv(self, name: str, x: str, side: int, stride: int = 1, groups: int = 1) -> str:
        """Convolves with SAME padding as XLA has it: at even sides and stride 2, one row below and none above."""
        one = self.params[ROOT + name]
        w = np.asarray(one["w"]).transpose(3, 2, 0, 1)
        kernel = w.shape[2]
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        before, after = total // 2, total - total // 2
        return self.node(
            "Conv",
            x,
            self.weight(f"{name}.w", w),
            self.weight(f"{name}.b", one["b"]),
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[before, before, after, after],
            group=groups,
        )

    def linear(self, name: str, x: str, output: str | None = None) -> str:
        one = self.params[ROOT + name]
        w, b = self.weight(f"{name}.w", one["w"]), self.weight(f"{name}.b", one["b"])
        return self.node("Gemm", x, w, b, output=output)


def build(params: Params, config: NFNetConfig, size: int) -> Any:
    """Returns a folded NFNet as an `onnx.ModelProto`.

    Its input "images" is float32 [batch, 3, size, size] in the order of PyTorch, its output "logits" [batch, classes];
    the batch is free.

    Args:
        params: Folded parameters, of `nfnet.inference.fold`.
        config: The network's configuration.
        size: Height and width of the images, in pixels.

    Raises:
        UserError: If ONNX has no such activation.
    """
    from onnx import TensorProto, helper

    if config.activation not in _OPERATORS:
        raise UserError(f"ONNX has no operator for the activation {config.activation!r}: export to .stablehlo.")
    operator, attributes = _OPERATORS[config.activation]
    graph = _Graph(params)

    def act(x: str) -> str:
        return graph.node(operator, x, **attributes)

    x, side = "images", size
    for i, stride in enumerate(config.stem_strides):
        x = graph.conv(f"stem_conv{i}", act(x) if i else x, side, stride)
        side = -(-side // stride)
    for i, block in enumerate(config.blocks()):
        x = _block(graph, act, f"nf_block_{i}" if i else "nf_block", block, x, side)
        side = -(-side // block.stride)
    pool = graph.node("GlobalAveragePool", act(graph.conv("final_conv", x, side)))
    graph.linear("linear", graph.node("Flatten", pool), output="logits")

    classes = int(np.shape(params[f"{ROOT}linear"]["w"])[1])
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, size, size])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])
    made = helper.make_graph(graph.nodes, "nfnet", [images], [logits], graph.weights)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="nfnet-companion")


def save(model: Any, path: Path) -> None:
    """Writes a model; beyond what one message of protobuf holds, weights go to a file beside it, OUT.onnx.data.

    Raises:
        UserError: If it cannot be written.
    """
    import onnx

    if sum(len(weight.raw_data) for weight in model.graph.initializer) > _LARGEST:
        # In a folder beside them first: onnx replaces no file of weights, and may stop between the two.
        data = path.with_name(f"{path.name}.data")
        for one in (path, data):
            require_replaceable(one)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
            made = Path(folder) / path.name
            onnx.save(model, str(made), save_as_external_data=True, location=data.name)
            os.replace(made.with_name(data.name), data)
            os.replace(made, path)
        return
    with replacing(path) as file:
        file.write(model.SerializeToString())


def _block(graph: _Graph, act: Any, name: str, block: BlockConfig, x: str, side: int) -> str:
    shortcut, x = x, act(x)
    if block.has_projection:
        shortcut = x
        if block.stride > 1:  # at odd sides the last window averages the pixels that exist
            last = side % 2
            shortcut = graph.node(
                "AveragePool", x, kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, last, last], count_include_pad=0
            )
        shortcut = graph.conv(f"{name}/~/conv_shortcut", shortcut, -(-side // block.stride))
    x = act(graph.conv(f"{name}/~/conv0", x, side))
    x = act(graph.conv(f"{name}/~/conv1", x, side, block.stride, block.groups))
    side = -(-side // block.stride)
    x = act(graph.conv(f"{name}/~/conv1b", x, side, 1, block.groups))
    x = graph.conv(f"{name}/~/conv2", x, side)
    mean = graph.node("GlobalAveragePool", x)
    hidden = graph.node("Relu", _dense(graph, f"{name}/~/squeeze_excite/~/linear", mean))
    gates = graph.node("Sigmoid", _dense(graph, f"{name}/~/squeeze_excite/~/linear_1", hidden))
    return graph.node("Add", shortcut, graph.node("Mul", x, gates))


def _dense(graph: _Graph, name: str, x: str) -> str:
    """A linear layer as a 1x1 convolution of one pixel, so that no reshape stands between it and the images."""
    one = graph.params[ROOT + name]
    w = np.asarray(one["w"]).T[:, :, None, None]
    return graph.node("Conv", x, graph.weight(f"{name}.w", w), graph.weight(f"{name}.b", one["b"]))
