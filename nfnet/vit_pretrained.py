"""Weights of Vision Transformers from elsewhere: timm, and the authors' JAX code.

    arrays = read_arrays("vit.npz")
    params = from_big_vision(arrays, "S/16", head="cls", resolution=384)
    logits = network.apply(params, None, images, False)["logits"]

Both return what `hk.transform`'s apply takes. Tensors are reshaped, transposed and joined, never
approximated; only a position embedding that is asked for at another resolution is interpolated
(`resize_position_embedding`).

timm's networks use the erf form of GELU: pass `dataclasses.replace(VIT_VARIANTS["S/16"], gelu="erf")` to
`ViT`. Its GELU's form does not matter here.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple
from zipfile import BadZipFile

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nfnet.errors import UserError, unknown_name
from nfnet.layers import parameter_dtype
from nfnet.vit import Head, PositionEmbedding, ViT, ViTConfig, find_vit_variant

Interpolation = Literal["bilinear", "bicubic"]
Arrays = Mapping[str, np.ndarray]
Params = dict[str, dict[str, np.ndarray]]

_POSITIONS = ("ViT", "position_embedding")


class Source(NamedTuple):
    """Where a parameter comes from.

    Attributes:
        names: Names of the tensors in the checkpoint.
        convert: From those tensors to the parameter.
    """

    names: tuple[str, ...]
    convert: Callable[..., np.ndarray]


Sources = dict[tuple[str, str], Source]


def timm_sources(config: ViTConfig, head: Head = "cls") -> Sources:
    """Returns for each parameter (module, name) its tensor in a timm `VisionTransformer` state dict.

    timm stores linear layers as [out, in] and convolutions as [out, in, height, width]; queries, keys and
    values come in one tensor, in the order that `ViT` has.

    Args:
        config: The network's shape.
        head: "cls" for timm's global_pool="token", "gap" for "avg" with the norm before pooling, "map" for
            "map".
    """
    sources: Sources = {}

    def linear(ours: str, theirs: str) -> None:
        sources[ours, "w"] = Source((f"{theirs}.weight",), np.transpose)
        sources[ours, "b"] = Source((f"{theirs}.bias",), np.asarray)

    def norm(ours: str, theirs: str) -> None:
        sources[ours, "scale"] = Source((f"{theirs}.weight",), np.asarray)
        sources[ours, "offset"] = Source((f"{theirs}.bias",), np.asarray)

    linear("ViT/patch_embedding", "patch_embed.proj")
    sources["ViT/patch_embedding", "w"] = Source(
        ("patch_embed.proj.weight",), lambda w: w.transpose(2, 3, 1, 0).reshape(-1, w.shape[0])
    )
    sources[_POSITIONS] = Source(("pos_embed",), np.asarray)
    if head == "cls":
        sources["ViT", "cls_token"] = Source(("cls_token",), np.asarray)
    for i in range(config.depth):
        norm(f"ViT/block_{i}/attention_norm", f"blocks.{i}.norm1")
        linear(f"ViT/block_{i}/attention/qkv", f"blocks.{i}.attn.qkv")
        linear(f"ViT/block_{i}/attention/out", f"blocks.{i}.attn.proj")
        norm(f"ViT/block_{i}/mlp_norm", f"blocks.{i}.norm2")
        linear(f"ViT/block_{i}/mlp/hidden", f"blocks.{i}.mlp.fc1")
        linear(f"ViT/block_{i}/mlp/out", f"blocks.{i}.mlp.fc2")
    norm("ViT/norm", "norm")
    if head == "map":
        sources["ViT/pooling", "probe"] = Source(("attn_pool.latent",), np.asarray)
        linear("ViT/pooling/query", "attn_pool.q")
        linear("ViT/pooling/key_value", "attn_pool.kv")
        linear("ViT/pooling/out", "attn_pool.proj")
        norm("ViT/pooling/norm", "attn_pool.norm")
        linear("ViT/pooling/mlp/hidden", "attn_pool.mlp.fc1")
        linear("ViT/pooling/mlp/out", "attn_pool.mlp.fc2")
    linear("ViT/head", "head")
    return sources


def big_vision_sources(config: ViTConfig, head: Head = "gap", *, old_names: bool = False) -> Sources:
    """Returns for each parameter (module, name) its tensors in a big_vision checkpoint.

    vision_transformer, its predecessor, has other names for the same. Flax stores queries, keys and values
    apart, as [in, head, feature].

    Args:
        config: The network's shape.
        head: "cls" for big_vision's pool_type="tok" and vision_transformer's "token"; "gap" and "map" are
            called so.
        old_names: Whether layers are numbered across kinds, as in vision_transformer's files.
    """
    sources: Sources = {}
    attention, mlp, second_norm = (1, 3, 2) if old_names else (0, 0, 1)

    def dense(ours: str, *theirs: str) -> None:
        sources[ours, "w"] = Source(tuple(f"{name}/kernel" for name in theirs), _join_kernels)
        sources[ours, "b"] = Source(tuple(f"{name}/bias" for name in theirs), _join_biases)

    def out(ours: str, theirs: str) -> None:
        sources[ours, "w"] = Source((f"{theirs}/kernel",), lambda w: w.reshape(-1, w.shape[-1]))
        sources[ours, "b"] = Source((f"{theirs}/bias",), np.asarray)

    def norm(ours: str, theirs: str) -> None:
        sources[ours, "scale"] = Source((f"{theirs}/scale",), np.asarray)
        sources[ours, "offset"] = Source((f"{theirs}/bias",), np.asarray)

    out("ViT/patch_embedding", "embedding")
    sources[_POSITIONS] = Source(
        ("Transformer/posembed_input/pos_embedding" if old_names else "pos_embedding",), np.asarray
    )
    if head == "cls":
        sources["ViT", "cls_token"] = Source(("cls",), np.asarray)
    for i in range(config.depth):
        block = f"Transformer/encoderblock_{i}"
        mha = f"{block}/MultiHeadDotProductAttention_{attention}"
        norm(f"ViT/block_{i}/attention_norm", f"{block}/LayerNorm_0")
        dense(f"ViT/block_{i}/attention/qkv", *(f"{mha}/{part}" for part in ("query", "key", "value")))
        out(f"ViT/block_{i}/attention/out", f"{mha}/out")
        norm(f"ViT/block_{i}/mlp_norm", f"{block}/LayerNorm_{second_norm}")
        dense(f"ViT/block_{i}/mlp/hidden", f"{block}/MlpBlock_{mlp}/Dense_0")
        dense(f"ViT/block_{i}/mlp/out", f"{block}/MlpBlock_{mlp}/Dense_1")
    norm("ViT/norm", "Transformer/encoder_norm")
    if head == "map":
        mha = "MAPHead_0/MultiHeadDotProductAttention_0"
        sources["ViT/pooling", "probe"] = Source(("MAPHead_0/probe",), np.asarray)
        dense("ViT/pooling/query", f"{mha}/query")
        dense("ViT/pooling/key_value", f"{mha}/key", f"{mha}/value")
        out("ViT/pooling/out", f"{mha}/out")
        norm("ViT/pooling/norm", "MAPHead_0/LayerNorm_0")
        dense("ViT/pooling/mlp/hidden", "MAPHead_0/MlpBlock_0/Dense_0")
        dense("ViT/pooling/mlp/out", "MAPHead_0/MlpBlock_0/Dense_1")
    dense("ViT/head", "head")
    return sources


def from_timm(
    state_dict: Arrays,
    variant: str | ViTConfig,
    *,
    head: Head = "cls",
    num_classes: int | None = None,
    resolution: int | None = None,
    interpolation: Interpolation = "bilinear",
) -> Params:
    """Converts the state dict of a timm `VisionTransformer`.

    Args:
        state_dict: Arrays by name, e.g. `{k: v.numpy() for k, v in model.state_dict().items()}`.
        variant: A name in `VIT_VARIANTS`, or a configuration.
        head: See `timm_sources`.
        num_classes: Replace the classifier by one that is zero, for fine-tuning; None keeps it.
        resolution: Side in pixels of the images to come; None keeps the checkpoint's.
        interpolation: See `resize_position_embedding`.

    Raises:
        UserError: If a tensor is missing, left over or of the wrong shape.
    """
    config = find_vit_variant(variant)
    return _convert(
        timm_sources(config, head),
        state_dict,
        config,
        head,
        num_classes=num_classes,
        resolution=resolution,
        interpolation=interpolation,
    )


def from_big_vision(
    arrays: Arrays,
    variant: str | ViTConfig,
    *,
    head: Head = "gap",
    num_classes: int | None = None,
    resolution: int | None = None,
    interpolation: Interpolation = "bilinear",
) -> Params:
    """Converts a checkpoint of google-research/big_vision or google-research/vision_transformer.

    What stands beside the image network in the file (a text network, optimizer state) is left out.

    Args:
        arrays: Arrays by name, as `read_arrays` returns them from the .npz file.
        variant: A name in `VIT_VARIANTS`, or a configuration.
        head: See `big_vision_sources`.
        num_classes: Replace the classifier by one that is zero, for fine-tuning; None keeps it.
        resolution: Side in pixels of the images to come; None keeps the checkpoint's.
        interpolation: See `resize_position_embedding`.

    Raises:
        UserError: If a tensor is missing, left over or of the wrong shape.
    """
    config = find_vit_variant(variant)
    anchor = "embedding/kernel"
    prefixes = [name.removesuffix(anchor) for name in arrays if name == anchor or name.endswith(f"/{anchor}")]
    if len(prefixes) != 1:
        raise UserError(
            f"the checkpoint has {len(prefixes)} tensors called '{anchor}', but one of big_vision or "
            "vision_transformer has one: give such a checkpoint, or use from_timm."
        )
    own = {name.removeprefix(prefixes[0]): value for name, value in arrays.items() if name.startswith(prefixes[0])}
    old_names = "Transformer/posembed_input/pos_embedding" in own
    sources = big_vision_sources(config, head, old_names=old_names)
    if "pos_embedding" not in own and not old_names:
        del sources[_POSITIONS]  # posemb="sincos2d" has no parameters
    return _convert(
        sources,
        own,
        config,
        head,
        num_classes=num_classes,
        resolution=resolution,
        interpolation=interpolation,
    )


def resize_position_embedding(
    embedding: Float[np.ndarray, "1 tokens width"],
    grid: tuple[int, int],
    *,
    old_grid: tuple[int, int] | None = None,
    interpolation: Interpolation = "bilinear",
) -> Float[np.ndarray, "1 new_tokens width"]:
    """Interpolates a learned position embedding to another grid (Dosovitskiy et al. 2021, Section 3.2).

    Patches are taken for squares with their value at the centre, and a coarser grid averages
    (antialiasing). The authors' code puts the outermost patches' centres on top of each other instead,
    without antialiasing.

    Args:
        embedding: Rows of patches, after the class token's position if there is one.
        grid: Rows and columns of patches to come; see `ViTConfig.grid`.
        old_grid: Rows and columns now; by default they are equal.
        interpolation: "bilinear" or "bicubic".

    Returns:
        The embedding for the new grid; the class token's position is kept. An equal grid returns it
        unchanged.

    Raises:
        UserError: If the embedding has no such grid, or the interpolation is unknown.
    """
    if interpolation not in (known := ("bilinear", "bicubic")):
        raise unknown_name("interpolation", interpolation, known)
    embedding = np.asarray(embedding)
    tokens, width = embedding.shape[1:]
    rows, columns = old_grid or (math.isqrt(tokens),) * 2
    extra = tokens - rows * columns
    if extra not in (0, 1):
        raise UserError(
            f"a position embedding of {tokens} tokens is no grid of {rows} x {columns} patches, with or "
            "without a class token: give its rows and columns as old_grid."
        )
    if (rows, columns) == tuple(grid):
        return embedding
    patches = embedding[:, extra:].reshape(1, rows, columns, width)
    resized = jax.image.resize(jnp.asarray(patches), (1, *grid, width), interpolation)
    return np.concatenate([embedding[:, :extra], np.asarray(resized).reshape(1, -1, width)], axis=1)


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Reads a .npz file of plain arrays.

    Nothing in the file is unpickled.

    Raises:
        UserError: If the file is missing, damaged or no .npz file, or holds Python objects.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise UserError(f"{path} holds a single array: give a .npz file of named arrays.")
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: check the path.") from None
    except UserError:
        raise
    except (BadZipFile, EOFError, OSError, ValueError) as error:
        raise UserError(f"{path} is no readable .npz file of plain arrays ({error}): fetch it again.") from None


def _convert(
    sources: Sources,
    arrays: Arrays,
    config: ViTConfig,
    head: Head,
    *,
    num_classes: int | None,
    resolution: int | None,
    interpolation: Interpolation,
) -> Params:
    """Collects and converts all parameters, and checks them against the network."""
    unused: set[str] = set()
    if num_classes is not None:
        unused = {name for key in ("w", "b") for name in sources.pop(("ViT/head", key)).names}
    needed = [name for source in sources.values() for name in source.names]
    if missing := [name for name in needed if name not in arrays]:
        raise UserError(
            f"the checkpoint lacks {_some(missing)}: check variant and head, and give num_classes if it has "
            "no classifier."
        )
    if surplus := sorted(set(arrays) - set(needed) - unused):
        raise UserError(
            f"the checkpoint holds {_some(surplus)}, for which this network has no place: check variant and head."
        )

    params: Params = {}
    for (module, name), source in sources.items():
        try:
            value = source.convert(*(np.asarray(arrays[theirs]) for theirs in source.names))
        except (ValueError, IndexError):
            value = np.empty(0)  # of a rank that cannot be converted: refused below with the wrong shapes
        params.setdefault(module, {})[name] = value.astype(parameter_dtype(value.dtype))
    if num_classes is not None:
        dtype = params["ViT/norm"]["scale"].dtype
        params["ViT/head"] = {
            "w": np.zeros((config.width, num_classes), dtype),
            "b": np.zeros(num_classes, dtype),
        }

    side = resolution or config.resolution
    if _POSITIONS in sources:
        embedding = _with_class_position(params["ViT"]["position_embedding"], head)
        if resolution is None:
            side = config.patch * math.isqrt(embedding.shape[1])
        else:
            embedding = resize_position_embedding(embedding, config.grid(side, side), interpolation=interpolation)
        params["ViT"]["position_embedding"] = embedding
    _check_shapes(params, sources, config, head, side)
    return params


def _with_class_position(embedding: np.ndarray, head: Head) -> np.ndarray:
    """Adds a zero position for the class token to an embedding of the patches alone."""
    if embedding.ndim != 3 or head != "cls" or math.isqrt(embedding.shape[1]) ** 2 != embedding.shape[1]:
        return embedding
    return np.concatenate([np.zeros_like(embedding[:, :1]), embedding], axis=1)


def _check_shapes(params: Params, sources: Sources, config: ViTConfig, head: Head, side: int) -> None:
    """Raises UserError for the first parameter that is not what the network would create."""
    num_classes = params["ViT/head"]["b"].size
    posemb: PositionEmbedding = "learned" if _POSITIONS in sources else "sincos2d"
    network = hk.transform(lambda images: ViT(num_classes, config, head=head, posemb=posemb)(images, False))
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    expected = jax.eval_shape(network.init, jax.random.key(0), images)
    for (module, name), source in sources.items():
        shape = params[module][name].shape
        if shape != expected[module][name].shape:
            raise UserError(
                f"{_some(list(source.names))} of the checkpoint should give {module}/{name} of shape "
                f"{expected[module][name].shape}, but give {shape}: check variant and head."
            )


def _join_kernels(*kernels: np.ndarray) -> np.ndarray:
    """From [in, ...] each to [in, out], side by side."""
    return np.concatenate([kernel.reshape(kernel.shape[0], -1) for kernel in kernels], axis=1)


def _join_biases(*biases: np.ndarray) -> np.ndarray:
    return np.concatenate([bias.ravel() for bias in biases])


def _some(names: list[str]) -> str:
    return repr(names[0]) + (f" and {len(names) - 1} more" if len(names) > 1 else "")
