"""A small ViT on Tiny-ImageNet: the twin of tiny_imagenet.py, on the same data for the same epochs.

python -m nfnet.train --config nfnet/configs/tiny_imagenet_vit.py --workdir runs/tiny_imagenet_vit
--config.data.path=FOLDER

Expected: a result has not been measured yet.
"""

from ml_collections import ConfigDict

from nfnet.configs import tiny_imagenet


def get_config() -> ConfigDict:
    """Returns the settings."""
    config = tiny_imagenet.get_config()
    config.model = {
        "family": "vit",
        "variant": "S/16",  # what `shape` does not change
        "shape": {
            "patch": 8,
            "width": 384,
            "depth": 12,
            "mlp_width": 1536,
            "num_heads": 6,
            "resolution": 64,
        },
        "num_classes": 200,
        "stochastic_depth_rate": 0.1,
        "bfloat16": config.model.get("bfloat16", False),
    }
    config.optimiser = {
        "name": "adamw",
        "learning_rate": 1e-3,
        "warmup_epochs": 5.0,
        "weight_decay": 0.05,
        "clip_norm": 1.0,
        "ema_decay": config.optimiser.get("ema_decay", 0.0),
    }
    return config
