"""Fine-tuning of ViTs on CIFAR-10 at 48 px: the twin of cifar10_48_finetune.py, on the same data for the same epochs.

python -m nfnet.finetune --config nfnet/configs/cifar10_48_finetune_vit.py --init RUN --workdir runs/cifar10_48_vit
--config.data.path=FOLDER --config.data.image_size=48 --config.data.evaluation_size=48

SGD as ViTs are fine-tuned (imagenet_finetune_vit.py), with the stochastic depth and the SAM of the NFNets.
Expected: what paper/replication/runs holds.
"""

from ml_collections import ConfigDict

from nfnet.configs import cifar10_48_finetune, imagenet_finetune_vit


def get_config() -> ConfigDict:
    """Returns the settings."""
    config = cifar10_48_finetune.get_config()
    aids = {name: config.optimiser[name] for name in ("sam_rho", "sam_fraction", "warmup_steps")}
    config.model.update(family="vit", variant="S/16")
    config.optimiser = imagenet_finetune_vit.get_config().optimiser
    config.optimiser.update(aids)
    config.training.label_smoothing = 0.0
    return config
