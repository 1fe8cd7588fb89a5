"""What was trained: models, optimisers, data, training, evaluation and compute accounting."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str

    from nfnet.errors import UserError as UserError
    from nfnet.models.nfnet import VARIANTS as VARIANTS
    from nfnet.models.nfnet import NFNet as NFNet
    from nfnet.models.nfnet import NFNetConfig as NFNetConfig
    from nfnet.models.vit import VIT_VARIANTS as VIT_VARIANTS
    from nfnet.models.vit import ViT as ViT
    from nfnet.models.vit import ViTConfig as ViTConfig
    from nfnet.weights.pretrained import load as load

# Where each exported name lives. Importing one imports its module alone, so that command lines which
# need no network start without JAX.
_EXPORTS = {
    "NFNet": "nfnet.models.nfnet",
    "NFNetConfig": "nfnet.models.nfnet",
    "VARIANTS": "nfnet.models.nfnet",
    "ViT": "nfnet.models.vit",
    "ViTConfig": "nfnet.models.vit",
    "VIT_VARIANTS": "nfnet.models.vit",
    "UserError": "nfnet.errors",
    "load": "nfnet.weights.pretrained",
}
__all__ = list(_EXPORTS)


def _version() -> str:
    """Returns the version of the installed package, "unknown" where its files are used without an installation."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("nfnet-companion")
    except PackageNotFoundError:
        return "unknown"


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS, "__version__"})
