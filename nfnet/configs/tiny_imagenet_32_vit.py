"""Pre-training of small ViTs on Tiny-ImageNet at 32 px: the twin of tiny_imagenet_32.py, on the same data and budgets.

python -m nfnet.train --config nfnet/configs/tiny_imagenet_32_vit.py --workdir runs/tiny_imagenet_32_vit
--config.data.path=FOLDER

Expected: what paper/replication/runs holds.
"""

from ml_collections import ConfigDict

from nfnet.configs import tiny_imagenet_32


def get_config() -> ConfigDict:
    """Returns the settings of the smallest network."""
    config = tiny_imagenet_32.get_config()
    config.model = {
        "family": "vit",
        "variant": "S/16",  # what `shape` does not change
        "shape": {"patch": 4, "width": 24, "depth": 2, "mlp_width": 96, "num_heads": 2, "resolution": 32},
        "num_classes": 200,
        "head": "gap",
        "dropout_rate": 0.0,
        "stochastic_depth_rate": 0.0,
    }
    config.data.update(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    config.optimiser = {
        "name": "adamw",
        "learning_rate": 2e-3,  # tuned on a grid of factors of 2
        "schedule": "cosine",
        "warmup_steps": 100,
        "weight_decay": 0.03,
        "clip_norm": 1.0,
    }
    return config
