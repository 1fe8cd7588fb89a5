"""Fine-tuning: which arrays of a checkpoint start a new run."""

from __future__ import annotations

from nfnet.errors import UserError
from nfnet.training.state import Params
from nfnet.weights.fit import Fit, fit


def transfer(fresh: Params, loaded: Params, *, partial: bool = False) -> tuple[Params, Fit]:
    """Starts from a checkpoint's body and a fresh head.

    Args:
        fresh: freshly initialised parameters, which give names, shapes and the head.
        loaded: parameters of the checkpoint.
        partial: accept a checkpoint that does not fill the whole body, or holds more.

    Raises:
        UserError: the checkpoint is of another model.
    """
    fitted = fit(loaded, fresh, replace_head=True, policy="partial" if partial else "strict")
    if fitted.problem:
        taken = fitted.loaded or fitted.resized
        raise UserError(
            f"The checkpoint is of another model ({fitted}; {fitted.problem}): pass the --config.model settings that "
            f"it was made with{', or --partial to go on with what fits' if taken else ''}."
        )
    return fitted.params, fitted
