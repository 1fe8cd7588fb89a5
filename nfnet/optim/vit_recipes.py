"""The optimisers of the Vision Transformer papers, with their numbers.

    optimizer = zhai2022_pretraining(total_steps=1_000_000)
    state = optimizer.init(params)

What Zhai et al. 2022 (arXiv 2106.04560) leave open is taken from the configurations that they released
(google-research/big_vision, configs/proj/scaling_laws/train_vit_g.py for pre-training, configs/transfer.py for
fine-tuning); each docstring says which number is from where.
"""

from typing import Any

import optax

from nfnet.optim.adam import adafactor
from nfnet.optim.schedules import rsqrt_schedule, warmup_cosine
from nfnet.optim.sgd import agc_sgd


def zhai2022_pretraining(
    total_steps: int,
    *,
    peak: float = 8e-4,
    warmup_steps: int = 10_000,
    cooldown_steps: int = 50_000,
    weight_decay: float = 0.03,
    head_weight_decay: float = 3.0,
) -> optax.GradientTransformation:
    """Returns the optimizer that pre-trained the ViTs of Zhai et al. 2022 on JFT-3B.

    From the paper: Adafactor, the inverse square root schedule with 10,000 steps of warm-up and a linear cool-down,
    224 px, and a sigmoid cross-entropy loss. From the released configuration (ViT-g/14, batch of 16,384): the rest.

    Args:
        total_steps: Steps of training, cool-down included.
        peak: Learning rate at the end of the warm-up.
        warmup_steps: Steps of linear growth.
        cooldown_steps: Steps of linear decay at the end.
        weight_decay: Of weight matrices but the classifier's.
        head_weight_decay: Of the classifier.

    Raises:
        UserError: If warm-up and cool-down do not fit into the training.
    """
    schedule = rsqrt_schedule(peak, total_steps, warmup_steps=warmup_steps, cooldown_steps=cooldown_steps)
    return adafactor(schedule, weight_decay=weight_decay, head_weight_decay=head_weight_decay)


def zhai2022_finetuning(
    peak: float, *, total_steps: int = 20_000, warmup_steps: int = 500
) -> optax.GradientTransformation:
    """Returns the optimizer that fine-tuned the ViTs of Zhai et al. 2022 on ImageNet.

    From the paper: SGD with momentum, no weight decay, a cosine over 20,000 steps, batches of 512, at 384
    px (518 for g/14 and G/14); Tables 14 to 22 list the best peak of each run. From the released
    configuration: momentum of 0.9, 500 steps of warm-up, the gradient's norm clipped at 1.

    Args:
        peak: Learning rate at the end of the warm-up.
        total_steps: Steps of training.
        warmup_steps: Steps of linear growth.

    Raises:
        UserError: If the warm-up does not fit into the training.
    """
    schedule = warmup_cosine(peak, total_steps, warmup_steps)
    return agc_sgd(schedule, weight_decay=0.0, clipping=None, clip_norm=1.0, nesterov=False)


def alabdulmohsin2023_pretraining(
    batch_size: int, *, images: float = 40e9, **settings: Any
) -> optax.GradientTransformation:
    """Returns an optimizer for SoViT-400m/14 as Alabdulmohsin et al. 2023 (arXiv 2305.13035) pre-trained it.

    From the paper: 40e9 images of JFT-3B at 224 px. The rest is `zhai2022_pretraining`: its authors share
    code with Zhai et al., but nothing here confirms that every number was kept.

    Args:
        batch_size: Images in a batch, which gives the number of steps.
        images: Images seen in training.
        settings: What else `zhai2022_pretraining` takes.

    Raises:
        UserError: If warm-up and cool-down do not fit into the training.
    """
    return zhai2022_pretraining(round(images / batch_size), **settings)
