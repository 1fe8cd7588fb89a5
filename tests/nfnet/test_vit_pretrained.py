"""Vision Transformers made elsewhere: what is read, resized and refused."""

import dataclasses

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import golden
from support.reference_vit import make_big_vision_arrays, with_old_names
from support.vits import HEADS, TINY, abstract_vit_parameters, vit_network

from nfnet import UserError, ViT
from nfnet.weights.big_vision import from_big_vision
from nfnet.weights.fit import fit
from nfnet.weights.load import load_checkpoint, merge
from nfnet.weights.timm_vit import from_timm_vit
from nfnet.weights.vit import resize_position_embedding

GRID = TINY.resolution // TINY.patch


def initial(head, num_classes=5, side=TINY.resolution):
    shapes = abstract_vit_parameters(vit_network(num_classes, TINY, head=head), side)
    return jax.tree.map(lambda leaf: jnp.full(leaf.shape, 7.0, leaf.dtype), shapes)


def check_equal(actual, expected):
    actual, expected = golden.flatten(actual), golden.flatten(expected)
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(actual[key], value, err_msg=key)


def to_timm(arrays, head):
    """Returns big_vision's arrays as PyTorch would hold them, written out layer by layer."""
    state = {}

    def linear(theirs, *names):
        w = np.concatenate([arrays[f"{name}/kernel"].reshape(TINY.width, -1) for name in names], axis=1)
        state[f"{theirs}.weight"] = w.T
        state[f"{theirs}.bias"] = np.concatenate([arrays[f"{name}/bias"].ravel() for name in names])

    def dense(theirs, name):
        w = arrays[f"{name}/kernel"]
        state[f"{theirs}.weight"] = w.reshape(-1, w.shape[-1]).T
        state[f"{theirs}.bias"] = arrays[f"{name}/bias"]

    def norm(theirs, name):
        state[f"{theirs}.weight"], state[f"{theirs}.bias"] = arrays[f"{name}/scale"], arrays[f"{name}/bias"]

    state["patch_embed.proj.weight"] = arrays["embedding/kernel"].transpose(3, 2, 0, 1)
    state["patch_embed.proj.bias"] = arrays["embedding/bias"]
    state["pos_embed"] = arrays["pos_embedding"]
    if head == "cls":
        state["cls_token"] = arrays["cls"]
    for i in range(TINY.depth):
        theirs, ours = f"blocks.{i}", f"Transformer/encoderblock_{i}"
        mha = f"{ours}/MultiHeadDotProductAttention_0"
        norm(f"{theirs}.norm1", f"{ours}/LayerNorm_0")
        linear(f"{theirs}.attn.qkv", f"{mha}/query", f"{mha}/key", f"{mha}/value")
        dense(f"{theirs}.attn.proj", f"{mha}/out")
        norm(f"{theirs}.norm2", f"{ours}/LayerNorm_1")
        dense(f"{theirs}.mlp.fc1", f"{ours}/MlpBlock_0/Dense_0")
        dense(f"{theirs}.mlp.fc2", f"{ours}/MlpBlock_0/Dense_1")
    norm("norm", "Transformer/encoder_norm")
    if head == "map":
        mha = "MAPHead_0/MultiHeadDotProductAttention_0"
        state["attn_pool.latent"] = arrays["MAPHead_0/probe"]
        linear("attn_pool.q", f"{mha}/query")
        linear("attn_pool.kv", f"{mha}/key", f"{mha}/value")
        dense("attn_pool.proj", f"{mha}/out")
        norm("attn_pool.norm", "MAPHead_0/LayerNorm_0")
        dense("attn_pool.mlp.fc1", "MAPHead_0/MlpBlock_0/Dense_0")
        dense("attn_pool.mlp.fc2", "MAPHead_0/MlpBlock_0/Dense_1")
    dense("head", "head")
    return state


def save(path, arrays):
    np.savez(path, **{name: value.astype(np.float32) for name, value in arrays.items()})
    return path


# from_big_vision itself is held against the equations in test_vit.py.
@pytest.mark.parametrize("head", HEADS)
def test_timm_and_big_vision_agree(head):
    arrays = make_big_vision_arrays(TINY, head, 5, GRID)
    check_equal(from_timm_vit(to_timm(arrays, head)), from_big_vision(arrays))


@pytest.mark.parametrize("origin", ["timm", "big_vision"])
@pytest.mark.parametrize("head", HEADS)
def test_files_of_either_origin_load(head, origin, tmp_path):
    arrays = make_big_vision_arrays(TINY, head, 5, GRID)
    path = save(tmp_path / "vit.npz", to_timm(arrays, head) if origin == "timm" else arrays)
    checkpoint = load_checkpoint(path, initial(head))
    assert checkpoint.skipped == checkpoint.left_over == ()
    expected = jax.tree.map(lambda value: value.astype(np.float32), from_big_vision(arrays))
    check_equal(checkpoint.params, expected)


def test_old_names_and_a_position_of_the_class_token():
    arrays = make_big_vision_arrays(TINY, "cls", 5, GRID)
    position = np.full((1, 1, TINY.width), 3.0)
    expected = from_big_vision(arrays)
    np.testing.assert_array_equal(expected["ViT"]["position_embedding"][:, 0], 0)
    expected["ViT"]["position_embedding"][:, 0] = 3.0
    check_equal(from_big_vision(with_old_names(arrays, position)), expected)


def test_what_stands_beside_the_image_network_is_left_out():
    arrays = make_big_vision_arrays(TINY, "map", 5, GRID)
    file = {f"params/img/{name}": value for name, value in arrays.items()}
    file["params/txt/Embed_0/embedding"] = np.ones(3)
    check_equal(from_big_vision(file), from_big_vision(arrays))


def test_another_classifier_and_resolution_for_fine_tuning(tmp_path):
    arrays = make_big_vision_arrays(TINY, "cls", 5, GRID)
    path = save(tmp_path / "vit.npz", arrays)
    start = initial("cls", num_classes=3, side=6 * TINY.patch)
    checkpoint = load_checkpoint(path, start, replace_head=True)
    assert set(checkpoint.skipped) == {"ViT/head/w", "ViT/head/b"}
    assert np.all(np.asarray(checkpoint.params["ViT/head"]["w"]) == 7)
    resized = resize_position_embedding(arrays["pos_embedding"].astype(np.float32), (6, 6))
    np.testing.assert_array_equal(checkpoint.params["ViT"]["position_embedding"][:, 1:], resized)
    np.testing.assert_array_equal(checkpoint.params["ViT"]["position_embedding"][:, 0], 0)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32])
def test_a_nested_network_at_another_resolution_takes_weights_of_any_type(dtype):
    def wrapped(images, is_training):
        return hk.Sequential([lambda x: ViT(5, TINY, head="cls", name="encoder")(x, is_training)["logits"]])(images)

    shapes = abstract_vit_parameters(hk.transform(wrapped), 6 * TINY.patch)
    found = from_big_vision(make_big_vision_arrays(TINY, "cls", 5, GRID))
    found = jax.tree.map(lambda value: np.asarray(value, dtype), found)
    checkpoint = merge(found, shapes, "found")
    (root,) = {module.removesuffix("/head") for module in shapes if module.endswith("/head")}
    assert root != "ViT"
    assert checkpoint.resized == (f"{root}/position_embedding",)
    assert {leaf.dtype for leaf in jax.tree.leaves(checkpoint.params)} == {np.dtype("float32")}
    exact = np.asarray(found["ViT"]["position_embedding"], np.float32)  # interpolated in float32
    expected = resize_position_embedding(exact, (6, 6), with_class=True)
    np.testing.assert_array_equal(checkpoint.params[root]["position_embedding"], expected)


def test_the_origin_says_which_gelu(tmp_path):
    arrays = make_big_vision_arrays(TINY, "gap", 5, GRID)
    for path, config in (
        (save(tmp_path / "timm.npz", to_timm(arrays, "gap")), dataclasses.replace(TINY, gelu="erf")),
        (save(tmp_path / "jax.npz", arrays), TINY),
    ):
        assert f"(gelu {config.gelu}): " in load_checkpoint(path, initial("gap"), config=config).summary()
        other = dataclasses.replace(TINY, gelu="tanh" if config.gelu == "erf" else "erf")
        with pytest.raises(UserError, match=f"dataclasses.replace.config, gelu='{config.gelu}'"):
            load_checkpoint(path, initial("gap"), config=other)


@pytest.mark.parametrize("origin", ["timm", "big_vision"])
def test_files_without_a_classifier_say_so(origin, tmp_path):
    arrays = make_big_vision_arrays(TINY, "gap", 5, GRID)
    state = to_timm(arrays, "gap") if origin == "timm" else arrays
    path = save(tmp_path / "vit.npz", {key: value for key, value in state.items() if not key.startswith("head")})
    with pytest.raises(UserError, match=r"vit.npz: it holds no classifier .*replace_head=True, or fine-tune it"):
        load_checkpoint(path, initial("gap"))
    assert load_checkpoint(path, initial("gap"), replace_head=True).left_over == ()


def bilinear_1d(old, new):
    """Weights [new, old] that interpolate values at the centres of equal cells, constant beyond the outermost."""
    position = (np.arange(new) + 0.5) * old / new - 0.5
    return np.stack([np.interp(position, np.arange(old), unit) for unit in np.eye(old)], axis=1)


@pytest.mark.parametrize(("old", "new"), [((4, 4), (8, 8)), ((3, 5), (7, 6)), ((2, 2), (3, 4))])
def test_enlarged_positions_are_interpolated_between_centres(old, new):
    embedding = np.random.default_rng(0).standard_normal((1, old[0] * old[1] + 1, 8)).astype(np.float32)
    resized = resize_position_embedding(embedding, new, old_grid=old, with_class=True)
    rows, columns = (bilinear_1d(a, b) for a, b in zip(old, new, strict=True))
    expected = np.einsum("ri,cj,ijd->rcd", rows, columns, embedding[0, 1:].reshape(*old, 8)).reshape(-1, 8)
    np.testing.assert_array_equal(resized[:, 0], embedding[:, 0])
    np.testing.assert_allclose(resized[0, 1:], expected, atol=1e-6)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_any_interpolation_keeps_constants_and_equal_grids(interpolation):
    constant = np.full((1, 16, 8), 0.3, np.float32)
    for grid in ((2, 2), (7, 9)):
        resized = resize_position_embedding(constant, grid, interpolation=interpolation)
        np.testing.assert_allclose(resized, np.full((1, grid[0] * grid[1], 8), 0.3), rtol=1e-5)
    assert resize_position_embedding(constant, (4, 4), interpolation=interpolation) is constant


def test_bicubic_follows_a_curve_that_bilinear_cuts():
    squares = np.broadcast_to(np.arange(8.0)[:, None, None] ** 2, (8, 8, 1)).reshape(1, 64, 1).astype(np.float32)
    exact = ((np.arange(16) + 0.5) / 2 - 0.5) ** 2
    errors = {}
    for interpolation in ("bilinear", "bicubic"):
        resized = resize_position_embedding(squares, (16, 16), interpolation=interpolation).reshape(16, 16)
        errors[interpolation] = np.abs(resized[4:-4, 8] - exact[4:-4]).max()
    assert errors["bicubic"] < 1e-4 < errors["bilinear"]


def test_a_smaller_grid_averages():
    stripes = np.broadcast_to(np.array([1.0, -1.0] * 4)[:, None, None], (8, 8, 1)).reshape(1, 64, 1).astype(np.float32)
    resized = resize_position_embedding(stripes, (2, 2))
    assert np.abs(resized).max() < 0.1


def test_positions_are_interpolated_where_the_number_of_patches_alone_differs():
    for head in ("cls", "gap"):
        params = from_big_vision(make_big_vision_arrays(TINY, head, 5, GRID))
        assert fit(params, initial(head)).resized == ()
        assert fit(params, initial(head, side=5 * TINY.patch)).resized == ("ViT/position_embedding",)
        # One has a class token and the other has none: another network.
        other = initial("gap" if head == "cls" else "cls", side=5 * TINY.patch)
        assert fit(params, other, policy="partial").resized == ()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"grid": (4, 4), "interpolation": "cubic"}, ("interpolation 'cubic'", "nearest is 'bicubic'")),
        ({"grid": (4, 4), "with_class": False}, ("10 tokens", "3 x 3", "old_grid")),
        ({"grid": (4, 4), "old_grid": (2, 4)}, ("10 tokens", "2 x 4")),
    ],
)
def test_impossible_interpolations_are_refused(arguments, words):
    with pytest.raises(UserError) as error:
        resize_position_embedding(np.zeros((1, 10, 8)), **{"with_class": True, **arguments})
    for word in words:
        assert word in str(error.value)


def without(arrays, name):
    return {key: value for key, value in arrays.items() if key != name}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda arrays: {**arrays, "pre_logits/kernel": np.ones((2, 2))}, ("pre_logits/kernel", "plain")),
        (
            lambda arrays: without(arrays, "Transformer/encoderblock_1/MultiHeadDotProductAttention_0/value/kernel"),
            ("ViT/block_1/attention/qkv lacks its value",),
        ),
        (lambda arrays: without(arrays, "Transformer/encoder_norm/scale"), ("ViT/norm/scale is missing",)),
        (lambda arrays: {**arrays, "b/embedding/kernel": np.ones(2)}, ("2 arrays called embedding/kernel",)),
        (lambda arrays: {**arrays, "head/kernel": np.ones((TINY.width, 4))}, ("ViT/head/w has shape (16, 4)",)),
    ],
)
def test_other_networks_of_the_authors_are_refused(change, words, tmp_path):
    path = save(tmp_path / "vit.npz", change(make_big_vision_arrays(TINY, "gap", 5, GRID)))
    with pytest.raises(UserError) as error:
        load_checkpoint(path, initial("gap"))
    assert str(error.value).startswith("vit.npz: ")
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fc_norm.weight", ("fc_norm.weight", "plain")),
        ("blocks.0.ls1.gamma", ("blocks.0.ls1.gamma", "plain")),
        ("blocks.7.norm1.weight", ("no parameter ViT/block_7/attention_norm/scale",)),
    ],
)
def test_other_networks_of_timm_are_refused(name, words, tmp_path):
    arrays = to_timm(make_big_vision_arrays(TINY, "gap", 5, GRID), "gap")
    path = save(tmp_path / "vit.npz", {**arrays, name: np.ones(TINY.width)})
    with pytest.raises(UserError) as error:
        load_checkpoint(path, initial("gap"))
    for word in words:
        assert word in str(error.value)


def test_a_checkpoint_with_another_head_is_refused(tmp_path):
    path = save(tmp_path / "vit.npz", make_big_vision_arrays(TINY, "map", 5, GRID))
    with pytest.raises(UserError, match="no parameter ViT/pooling"):
        load_checkpoint(path, initial("gap"))
