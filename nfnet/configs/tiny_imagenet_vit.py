"""A small ViT on Tiny-ImageNet: the twin of tiny_imagenet.py, on the same data for the same epochs.

python -m nfnet.train --config nfnet/configs/tiny_imagenet_vit.py --workdir runs/tiny_imagenet_vit
--config.data.path=FOLDER

Expected: a result has not been measured yet.
"""

from ml_collections import ConfigDict

from nfnet.configs import cifar10_vit, tiny_imagenet


def get_config() -> ConfigDict:
    """Returns the settings: the optimiser is that of cifar10_vit.py."""
    config = tiny_imagenet.get_config()
    config.model = {
        "family": "vit",
        "variant": "S/16",  # what `shape` does not change
        "shape": {"patch": 8, "width": 384, "depth": 12, "mlp_width": 1536, "num_heads": 6, "resolution": 64},
        "num_classes": 200,
        "stochastic_depth_rate": 0.1,
        "bfloat16": True,
    }
    config.optimiser = {**cifar10_vit.get_config().optimiser, "ema_decay": config.optimiser.ema_decay}
    return config
