"""SGD with momentum, its gradient clipped adaptively, as NFNets are trained, or by its norm.

Brock et al. 2021 (arXiv 2102.06171), Section 4 and Appendix A. Everything is composed from optax; what is ours is which
parameters are clipped and decayed.
"""

import optax

from nfnet.errors import UserError
from nfnet.optim import masks


def agc_sgd(
    learning_rate: optax.ScalarOrSchedule,
    *,
    weight_decay: float,
    clipping: float | None = 0.01,
    clip_norm: float | None = None,
    eps: float = 1e-3,
    momentum: float = 0.9,
    nesterov: bool = True,
) -> optax.GradientTransformation:
    """Returns SGD with momentum and, unless it is turned off, adaptive gradient clipping (Section 4, equation 3).

    A unit is all weights of one output channel. Where the norm of its gradient exceeds
    clipping * max(norm of the weights, eps), the gradient is scaled down to that. Weight decay is then added
    to the gradient (L2, coupled), before momentum.

    Args:
        learning_rate: Step size, or a function from the number of the step to it.
        weight_decay: Factor of the L2 penalty's gradient.
        clipping: Largest ratio of a gradient's norm to its weights' norm; None does not clip so.
        clip_norm: Largest norm of the whole gradient, where `clipping` is None; None or 0 does not clip.
        eps: Floor of the weights' norm, so that what starts at zero can grow.
        momentum: Decay of the accumulated gradient.
        nesterov: Whether to look one step ahead.

    Returns:
        An optax transformation whose update needs the parameters, as Haiku names them.

    Raises:
        UserError: `clipping` is not above 0, which would keep all but the classifier from moving.
    """
    if clipping is not None and not clipping > 0:
        raise UserError(f"clipping is {clipping}, but must be above 0; None turns it off.")
    decay = masked = optax.masked(optax.add_decayed_weights(weight_decay), masks.is_decayed)
    if clipping is None:
        clip = clip_by_norm(clip_norm)
        # Of two empty states, the plain one is in the checkpoints of SGD.
        decay = optax.stateless(lambda updates, params: masked.update(updates, masked.init(params), params)[0])
    else:
        clip = optax.masked(optax.adaptive_grad_clip(clipping, eps), masks.is_clipped)
    return optax.chain(clip, decay, optax.sgd(learning_rate, momentum, nesterov))


def clip_by_norm(largest: float | None) -> optax.GradientTransformation:
    """Returns a clipping of the norm of the whole gradient; None or 0 does not clip."""
    return optax.clip_by_global_norm(largest) if largest else optax.identity()
