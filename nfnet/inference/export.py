"""Folded networks as files: StableHLO, which JAX and other XLA programs read, and ONNX."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfnet.errors import UserError
from nfnet.files import replacing

if TYPE_CHECKING:
    from nfnet.weights.pretrained import Pretrained
    from nfnet.weights.zoo import Preprocessing

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def metadata(pretrained: Pretrained, settings: Preprocessing, names: Sequence[str]) -> dict[str, Any]:
    """Returns what an exported file says of itself."""
    entry = pretrained.entry
    return {
        "weights": pretrained.description,
        "variant": pretrained.variant,
        "origin": str(pretrained.origin),
        "licence": entry.licence if entry else None,
        "preprocessing": dataclasses.asdict(settings),
        "classes": list(names),
    }


def serialise(pretrained: Pretrained, settings: Preprocessing, platforms: Sequence[str]) -> bytes:
    """Returns a folded network and its weights as StableHLO: images [batch, size, size, 3] to logits [batch, classes].

    Args:
        pretrained: The network.
        settings: Its `size` is that of the images, which are normalised and float32.
        platforms: Some of `PLATFORMS`.

    Raises:
        UserError: If a platform is unknown.
    """
    if unknown := [name for name in platforms if name not in PLATFORMS]:
        raise UserError(f"--platforms names {unknown[0]!r}: give some of {','.join(PLATFORMS)}.")
    import jax
    import jax.numpy as jnp
    from jax import export

    from nfnet.inference.fold import fold

    network, params = fold(pretrained.params, pretrained.config)
    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, settings.size, settings.size, 3), jnp.float32)
    function = jax.jit(lambda images: network.apply(params, None, images, is_training=False)["logits"])
    return bytes(export.export(function, platforms=tuple(platforms))(images).serialize())


def write_stablehlo(
    out: Path, pretrained: Pretrained, settings: Preprocessing, names: Sequence[str], platforms: Sequence[str]
) -> None:
    """Writes `serialise` to a file, and the metadata to OUT.json beside it.

    Raises:
        UserError: As `serialise`, or if a file cannot be written.
    """
    content = serialise(pretrained, settings, platforms)
    said = metadata(pretrained, settings, names) | {"platforms": list(platforms), "layout": "NHWC"}
    with replacing(out) as file, replacing(out.with_name(f"{out.name}.json")) as beside:
        file.write(content)
        beside.write(json.dumps(said, indent=1).encode())


def check_installed(suffix: str) -> None:
    """Raises UserError unless the package that writes files of a suffix is installed."""
    package = {".onnx": "onnx", ".stablehlo": "flatbuffers"}[suffix]
    if importlib.util.find_spec(package) is None:
        raise UserError(f"the package {package} is not installed: run `pip install '.[export]'` in the project.")


def write_onnx(out: Path, pretrained: Pretrained, settings: Preprocessing, names: Sequence[str]) -> None:
    """Writes a folded NFNet as ONNX: "images" [batch, 3, size, size] to "logits" [batch, classes].

    Raises:
        UserError: If it is a Vision Transformer, ONNX lacks its activation, or the file cannot be written.
    """
    check_installed(".onnx")
    from nfnet.inference.fold import fold
    from nfnet.inference.onnx_graph import build, save
    from nfnet.models.nfnet import NFNetConfig

    if not isinstance(pretrained.config, NFNetConfig):
        raise UserError("only NFNets are written as ONNX: export a Vision Transformer to .stablehlo.")
    model = build(fold(pretrained.params, pretrained.config)[1], pretrained.config, settings.size)
    for key, value in metadata(pretrained, settings, names).items():
        model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    save(model, out)
