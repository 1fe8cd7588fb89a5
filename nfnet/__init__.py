"""What was trained: models, optimisers, data, training, evaluation and compute accounting."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nfnet.errors import UserError as UserError
    from nfnet.model import VARIANTS as VARIANTS
    from nfnet.model import NFNet as NFNet
    from nfnet.model import NFNetConfig as NFNetConfig
    from nfnet.vit import VIT_VARIANTS as VIT_VARIANTS
    from nfnet.vit import ViT as ViT
    from nfnet.vit import ViTConfig as ViTConfig

# Where each exported name lives. Importing one imports its module alone, so that command lines which
# need no network start without JAX.
_EXPORTS = {
    "NFNet": "nfnet.model",
    "NFNetConfig": "nfnet.model",
    "VARIANTS": "nfnet.model",
    "ViT": "nfnet.vit",
    "ViTConfig": "nfnet.vit",
    "VIT_VARIANTS": "nfnet.vit",
    "UserError": "nfnet.errors",
}
__all__ = list(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
