"""A small ViT on CIFAR-10: the twin of cifar10.py, on the same data for the same epochs.

python -m nfnet.train --config nfnet/configs/cifar10_vit.py --workdir runs/cifar10_vit
--config.data.path=FOLDER

Expected: a result has not been measured yet.
"""

from ml_collections import ConfigDict

from nfnet.configs import cifar10


def get_config() -> ConfigDict:
    """Returns the settings."""
    config = cifar10.get_config()
    config.model = {
        "family": "vit",
        "variant": "S/16",  # what `shape` does not change
        "shape": {"patch": 4, "width": 192, "depth": 9, "mlp_width": 768, "num_heads": 3, "resolution": 32},
        "num_classes": 10,
        "stochastic_depth_rate": 0.1,
    }
    config.optimiser = {
        "name": "adamw",
        "learning_rate": 1e-3,
        "warmup_epochs": 5.0,
        "weight_decay": 0.05,
        "clip_norm": 1.0,
        "ema_decay": config.optimiser.ema_decay,
    }
    return config
