import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnet.errors import UserError
from nfnet.training.transfer import transfer
from nfnet.weights.vit import resize_position_embedding


def params(classes: int, value: float, **extra) -> dict:
    return {
        "NFNet/~/stem_conv0": {"w": np.full((3, 4), value), "gain": np.full(4, value)},
        "NFNet/~/linear": {"w": np.full((4, classes), value), "b": np.full(classes, value)},
        **extra,
    }


@pytest.mark.parametrize("classes", [10, 5])
def test_the_body_is_loaded_and_the_head_reset(classes):
    result, report = transfer(params(5, 0.0), params(classes, 1.0))
    assert (result["NFNet/~/stem_conv0"]["w"] == 1).all()
    assert (result["NFNet/~/linear"]["w"] == 0).all()
    assert report.loaded == ("NFNet/~/stem_conv0/w", "NFNet/~/stem_conv0/gain")
    assert report.reset == ("NFNet/~/linear/w", "NFNet/~/linear/b")
    assert report.skipped == report.left_over == ()
    assert str(report) == "2 arrays loaded; 2 reset (NFNet/~/linear/w, NFNet/~/linear/b)"


def test_what_does_not_fit_is_told():
    fresh = params(5, 0.0, more={"w": np.zeros(3)})
    loaded = params(5, 1.0, other={"w": np.ones(2)}, more={"w": np.ones(4)})
    with pytest.raises(UserError, match=r"another model .*1 skipped \(more/w\); 1 left over \(other/w\).*--partial"):
        transfer(fresh, loaded)
    result, report = transfer(fresh, loaded, partial=True)
    assert (result["more"]["w"] == 0).all()
    assert (report.skipped, report.left_over) == (("more/w",), ("other/w",))
    with pytest.raises(UserError, match="another model"):
        transfer(fresh, {"x": {"y": np.ones(2)}}, partial=True)


def test_more_than_the_network_needs_is_another_model():
    with pytest.raises(UserError, match=r"another model .*no parameter other/w\).*--partial"):
        transfer(params(5, 0.0), params(5, 1.0, other={"w": np.ones(2)}))


def test_a_checkpoint_without_a_classifier_is_taken():
    loaded = params(5, 1.0)
    del loaded["NFNet/~/linear"]
    _, report = transfer(params(5, 0.0), loaded)
    assert len(report.loaded) == len(report.reset) == 2


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float64])
def test_parameters_of_any_type_become_those_of_the_network(dtype):
    loaded = jax.tree.map(lambda value: value.astype(dtype), params(7, 0.3))
    positions = np.linspace(0, 1, 32).reshape(1, 4, 8).astype(dtype)
    fresh = jax.tree.map(lambda value: value.astype(np.float32), params(5, 0.0))
    result, report = transfer(
        {**fresh, "ViT": {"position_embedding": np.zeros((1, 9, 8), np.float32)}},
        {**loaded, "ViT": {"position_embedding": positions}},
    )
    assert report.resized == ("ViT/position_embedding",)
    assert {leaf.dtype for leaf in jax.tree.leaves(result)} == {np.dtype("float32")}
    assert (result["NFNet/~/stem_conv0"]["w"] == np.float32(dtype(0.3))).all()
    expected = resize_position_embedding(positions.astype(np.float32), (3, 3))
    np.testing.assert_array_equal(result["ViT"]["position_embedding"], expected)


@pytest.mark.parametrize(("old", "new"), [(4, 9), (5, 10), (16, 4)])
def test_position_embeddings_are_resized(old, new):
    name = "ViT"
    token = {"cls_token": np.ones((1, 1, 8))} if new == 10 else {}
    fresh = {name: {"position_embedding": np.zeros((1, new, 8)), **token}, "norm": {"scale": np.zeros(8)}}
    loaded = {name: {"position_embedding": np.ones((1, old, 8)), **token}, "norm": {"scale": np.ones(8)}}
    result, report = transfer(fresh, loaded)
    assert result[name]["position_embedding"].shape == (1, new, 8)
    np.testing.assert_allclose(result[name]["position_embedding"], 1, rtol=1e-6)
    assert report.resized == ("ViT/position_embedding",)
