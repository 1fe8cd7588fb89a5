"""The families of networks: one entry each."""

from collections.abc import Iterable

# Modules of each family, by their names within the network: the first layer, which tells where in a tree of parameters
# the network is, and the classifier.
_LAYOUTS = (("~/stem_conv0", "~/linear"), ("patch_embedding", "head"))


def classifiers(modules: Iterable[str]) -> frozenset[str]:
    """Returns which modules are classifiers, also of networks that are nested in others or renamed.

    Args:
        modules: Names of all modules, e.g. a tree of parameters.
    """
    modules = set(modules)
    found = {
        module.removesuffix(first) + classifier
        for first, classifier in _LAYOUTS
        for module in modules
        if f"/{module}".endswith(f"/{first}")
    }
    return frozenset(found & modules)
