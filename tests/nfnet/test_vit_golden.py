"""ViT-S/16 against timm's, in another framework: outputs, loss and gradients, and its names and shapes."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import golden
from support.golden_timm import make_timm_state_dict, read_timm_manifest
from support.networks import full_jit
from support.vits import abstract_vit_parameters, vit_network

from nfnet import VIT_VARIANTS
from nfnet.weights.timm_vit import from_timm_vit

EXPECTED = np.load(golden.GOLDEN / "timm_vit_small_patch16_224_b2_seed6.npz")
SEED, SIDE, BATCH = 6, 224, 2
# Share of the largest golden value. JAX's attention takes its softmax in float32 also in float64, which leaves
# 5e-8 there; float32 differs by 7e-7 (outputs) and 6e-6 (norms of gradients).
TOLERANCE = {np.float32: 2e-6, np.float64: 2e-7}
GRADIENT_TOLERANCE = {np.float32: 2e-5, np.float64: 2e-7}


@partial(full_jit, static_argnums=0)
def evaluate(net, params, images):
    return net.apply(params, None, images, False)


# The gradient runs once, so the time to compile it counts for more than its speed.
@partial(jax.jit, static_argnums=0, compiler_options={"xla_backend_optimization_level": 0})
def differentiate(net, params, images):
    def loss(params):
        outputs = net.apply(params, None, images, True)
        return jnp.mean(outputs["logits"] ** 2), outputs

    return jax.value_and_grad(loss, has_aux=True)(params)


def small(gelu="erf"):
    return dataclasses.replace(VIT_VARIANTS["S/16"], gelu=gelu)


def timm_places(manifest):
    """Returns timm's name -> our module and name of each parameter."""
    places = {}
    for theirs, shape in manifest.items():
        ((module, group),) = from_timm_vit({theirs: np.broadcast_to(np.float32(0), shape)}).items()
        places[theirs] = (module, *group)
    return places


def make_inputs(dtype):
    state_dict = make_timm_state_dict(read_timm_manifest("vit_small_patch16_224"), SEED, dtype)
    return from_timm_vit(state_dict), golden.make_images(BATCH, SIDE, SEED, dtype)


def check_outputs(outputs, dtype):
    for name in ("logits", "features"):
        assert outputs[name].dtype == dtype
        assert golden.deviation(outputs[name], EXPECTED[name]) < TOLERANCE[dtype]


def check_gradients(dtype):
    params, images = make_inputs(dtype)
    (loss, outputs), gradients = differentiate(vit_network(1000, small(), head="cls"), params, images)
    check_outputs(outputs, dtype)
    assert golden.deviation(loss, EXPECTED["loss"]) < TOLERANCE[dtype]
    norms = {
        theirs: np.linalg.norm(np.asarray(gradients[module][name], np.float64))
        for theirs, (module, name) in timm_places(read_timm_manifest("vit_small_patch16_224")).items()
    }
    assert sorted(norms) == list(EXPECTED["grad_names"])
    for name, norm in zip(EXPECTED["grad_names"], EXPECTED["grad_norms"], strict=True):
        assert abs(norms[name] - norm) <= GRADIENT_TOLERANCE[dtype] * norm, name


def test_parameters_and_images_are_those_of_the_golden_run():
    state_dict = make_timm_state_dict(read_timm_manifest("vit_small_patch16_224"), SEED)
    images = golden.make_images(BATCH, SIDE, SEED)
    np.testing.assert_allclose(golden.checksum(state_dict.values()), EXPECTED["param_checksum"], rtol=1e-12)
    np.testing.assert_allclose(golden.checksum([images]), EXPECTED["x_checksum"], rtol=1e-12)


@pytest.mark.slow
def test_outputs_and_gradients_in_float32():
    check_gradients(np.float32)


@pytest.mark.usefixtures("x64")
def test_outputs_in_float64():
    params, images = make_inputs(np.float64)
    check_outputs(evaluate(vit_network(1000, small(), head="cls"), params, images), np.float64)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_outputs_and_gradients_in_float64():
    check_gradients(np.float64)


@pytest.mark.slow
def test_golden_outputs_tell_the_forms_of_gelu_apart():
    params, images = make_inputs(np.float32)
    outputs = evaluate(vit_network(1000, small(gelu="tanh"), head="cls"), params, images)
    assert golden.deviation(outputs["logits"], EXPECTED["logits"]) > 50 * TOLERANCE[np.float32]


@pytest.mark.parametrize(("model", "variant"), [("vit_small_patch16_224", "S/16"), ("vit_base_patch16_224", "B/16")])
def test_parameters_are_those_of_timm(model, variant):
    manifest = read_timm_manifest(model)
    params = abstract_vit_parameters(vit_network(1000, variant, head="cls"), SIDE)
    expected = {key: value.shape for key, value in golden.flatten(params).items()}
    state_dict = {name: np.broadcast_to(np.float32(0), shape) for name, shape in manifest.items()}
    assert {key: value.shape for key, value in golden.flatten(from_timm_vit(state_dict)).items()} == expected
    counts = golden.read_json("manifests/timm_counts.json")[model]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == counts["params"]
