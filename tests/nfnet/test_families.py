"""The table of families: each entry is right about the networks that it builds, and tells what it does not read."""

import jax
import pytest

from nfnet import UserError
from nfnet.cost import cost
from nfnet.cost.cost import network_cost
from nfnet.cost.counter import count_parameters
from nfnet.models.families import FAMILIES, classifiers, find_family, roots
from nfnet.training.config import ModelConfig
from nfnet.training.network import make_network, network_shape, parameter_shapes

SMALL = {
    "nfnet": {"variant": "F0", "shape": {"widths": (16,), "depths": (1,), "strides": (1,), "group_width": 8}},
    "vit": {"variant": "micro/4", "shape": {"width": 16, "depth": 1, "mlp_width": 16, "num_heads": 2}},
}
OTHERS = {"plus_width": "released", "head": "cls", "logit_bias": -10.0}  # none is the default
SETTINGS = {key for family in FAMILIES.values() for key in (*family.readings, *family.options)}


def shapes(family, side=32, **settings):
    return parameter_shapes(make_network(ModelConfig(family=family, **SMALL[family], **settings)), side)


def test_settings_name_the_families_of_the_table():
    assert ModelConfig.family in FAMILIES
    with pytest.raises(UserError, match=r"unknown config.model.family 'vti'.*nearest is 'vit'"):
        make_network(ModelConfig(family="vti"))
    assert len({family.first for family in FAMILIES.values()}) == len(FAMILIES)
    assert set(SMALL) == set(FAMILIES)
    assert set(OTHERS) == SETTINGS


def test_a_variant_belongs_to_one_family():
    names = [name for family in FAMILIES.values() for name in family.variants]
    assert len(names) == len(set(names))
    for family in FAMILIES.values():
        for name, config in family.variants.items():
            assert find_family(name) is find_family(config) is family
            assert family.find(name) == config
    with pytest.raises(UserError, match=r"unknown variant 'F8'.*nearest is 'F7'"):
        find_family("F8")


@pytest.mark.parametrize("family", FAMILIES)
def test_first_layer_and_classifier_are_found_by_name(family):
    modules = shapes(family)
    (root,) = roots(modules)
    assert roots(modules)[root] is FAMILIES[family]
    assert classifiers(modules) == {root + FAMILIES[family].classifier}
    nested = {f"wrapper/~/{name.replace(FAMILIES[family].title, 'renamed')}" for name in modules}
    assert len(classifiers(nested)) == 1
    (classifier,) = classifiers(modules)
    assert modules[classifier]["w"].shape[1] == ModelConfig.num_classes


@pytest.mark.parametrize("family", FAMILIES)
def test_positions_alone_depend_on_the_size_of_images(family):
    """And the class token comes with the head that reads it."""
    head = {"head": "cls"} if "head" in FAMILIES[family].options else {}
    small, large = (
        {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
        for tree in (shapes(family, 32, **head), shapes(family, 64, **head))
    )
    assert list(small) == list(large)
    changed = {name.split("'")[-2] for name in small if small[name] != large[name]}
    assert changed == ({FAMILIES[family].positions} if FAMILIES[family].positions else set())
    token = FAMILIES[family].class_token
    assert token is None or any(name.endswith(f"['{token}']") for name in small)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("setting", sorted(SETTINGS))
def test_a_setting_that_a_family_does_not_read_is_refused(family, setting):
    own = (*FAMILIES[family].readings, *FAMILIES[family].options)
    config = ModelConfig(family=family, **SMALL[family], **{setting: OTHERS[setting]})
    if setting in own:
        make_network(config)
    else:
        with pytest.raises(UserError, match=rf"model\.{setting} is .*{FAMILIES[family].title}s have no such setting"):
            make_network(config)


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_are_the_whole_network(family):
    config = network_shape(ModelConfig(family=family, **SMALL[family]))
    counted = network_cost(config, 32, num_classes=ModelConfig.num_classes).parameters
    assert counted == count_parameters(shapes(family))


def test_variants_share_what_is_traced():
    network_cost("F1", 96)
    before = cost._traced.cache_info().misses
    network_cost("F7", 96)
    assert cost._traced.cache_info().misses == before
