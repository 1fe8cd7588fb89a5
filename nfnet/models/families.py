"""The families of networks: one entry each. To add one, write its module and enter it here."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from nfnet.errors import UserError, unknown_name
from nfnet.models.nfnet import VARIANTS, NFNet, NFNetConfig, find_variant, nfnet_parts
from nfnet.models.parts import Part
from nfnet.models.vit import VIT_VARIANTS, ViT, ViTConfig, find_vit_variant, vit_parts
from nfnet.ranges import shown


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of networks.

    Attributes:
        name: As settings have it.
        title: As texts have it.
        build: The module: takes the number of classes, a configuration, and by name dtype, remat, `options` and, unless
            they are to be the variant's, dropout_rate and stochastic_depth_rate.
        config: Class of its configurations.
        variants: Configurations that have a name.
        find: Returns the configuration of a name (a configuration as it is); takes `readings` by name.
        parts: Yields what a network is made of; takes a configuration, the side of a square image, the number of
            classes, and by name those of `options` that change its cost.
        caption: From a variant's name and, by name, its `readings` and `options`, what a description says of them.
        first: Module of its first layer, by its name within the network, unlike that of any other family: tells where
            in a tree of parameters the network is.
        classifier: Module of its classifier.
        readings: Fields of a run's model settings that are passed to `find` with the name, such as plus_width.
        options: Fields that are passed to `build`, and refused if set for a family that lacks them.
        positions: Name of its position embedding [1, tokens, width], which alone depends on the size of images.
        class_token: Name of the token that comes before the patches in `positions`, where a network has it.
        memory_measured: Whether `nfnet.cost.cost.training_bytes` is known to hold for it.
    """

    name: str
    title: str
    build: Callable[..., Any]
    config: type
    variants: Mapping[str, Any]
    find: Callable[..., Any]
    parts: Callable[..., Iterator[Part]]
    caption: Callable[..., str]
    first: str
    classifier: str
    readings: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    positions: str | None = None
    class_token: str | None = None
    memory_measured: bool = False

    def settings(self, given: Any, default: Any, prefix: str = "") -> dict[str, Any]:
        """Returns those of the settings that it reads, by name.

        Args:
            given: Has settings as attributes; any that it lacks are left out.
            default: Has their defaults.
            prefix: What the settings' names start with in the error.

        Raises:
            UserError: If a setting that only other families read is not its default.
        """
        read = (*self.readings, *self.options)
        known = {key for family in FAMILIES.values() for key in (*family.readings, *family.options)}
        for key in sorted(known.difference(read)):
            if (value := getattr(given, key, None)) != getattr(default, key, None):
                raise UserError(
                    f"{prefix}{key} is {shown(value)}, but {self.title}s have no such setting: leave it out."
                )
        return {key: getattr(given, key) for key in read if hasattr(given, key)}


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="nfnet",
            title="NFNet",
            build=NFNet,
            config=NFNetConfig,
            variants=VARIANTS,
            find=find_variant,
            parts=nfnet_parts,
            caption=lambda variant, plus_width: f", {plus_width} '+' width" if variant.endswith("+") else "",
            first="~/stem_conv0",
            classifier="~/linear",
            readings=("plus_width",),
            memory_measured=True,
        ),
        Family(
            name="vit",
            title="ViT",
            build=ViT,
            config=ViTConfig,
            variants=VIT_VARIANTS,
            find=find_vit_variant,
            parts=vit_parts,
            caption=lambda variant, head: f", head {head}",
            first="patch_embedding",
            classifier="head",
            options=("head", "logit_bias"),
            positions="position_embedding",
            class_token="cls_token",
        ),
    )
}


def find_family(variant: Any) -> Family:
    """Returns the family of a variant's name or of a configuration.

    Raises:
        UserError: If no family has it.
    """
    for family in FAMILIES.values():
        if isinstance(variant, family.config) or variant in family.variants:
            return family
    known = [name for family in FAMILIES.values() for name in family.variants]
    raise unknown_name("variant", shown(variant, quote=False), known)


def roots(modules: Iterable[str]) -> dict[str, Family]:
    """Returns the networks in a tree of parameters, also nested in others or renamed: what their names start with.

    Args:
        modules: Names of all modules, e.g. a tree of parameters.

    Returns:
        By the beginning of its modules' names, such as "NFNet/" or "wrapper/~/ViT/", the family of each network.
    """
    return {
        module.removesuffix(family.first): family
        for family in FAMILIES.values()
        for module in modules
        if f"/{module}".endswith(f"/{family.first}")
    }


def classifiers(modules: Iterable[str]) -> frozenset[str]:
    """Returns which modules are classifiers, also of networks that are nested in others or renamed.

    Args:
        modules: Names of all modules, e.g. a tree of parameters.
    """
    modules = set(modules)
    return frozenset({root + family.classifier for root, family in roots(modules).items()} & modules)
