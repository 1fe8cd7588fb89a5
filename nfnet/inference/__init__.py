"""Using networks rather than training them.

- `fold`: a network with all that does not depend on images computed beforehand.
- `preprocess`: from files to the images that a network was evaluated on.
- `classify`: batches through a network: probabilities, features.
- `score`: accuracies and their intervals.
- `export`, `onnx`: networks as files for other programs.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nfnet.inference.fold import fold as fold

__all__ = ["fold"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module("nfnet.inference.fold")
    globals()[name] = value = getattr(module, name)
    return value
