"""A small ViT on Fashion-MNIST: the twin of fashion_mnist.py, on the same data for the same epochs.

python -m nfnet.train --config nfnet/configs/fashion_mnist_vit.py --workdir runs/fashion_mnist_vit
--config.data.path=FOLDER

Expected: a result has not been measured yet.
"""

from ml_collections import ConfigDict

from nfnet.configs import cifar10_vit, fashion_mnist


def get_config() -> ConfigDict:
    """Returns the settings: network and optimiser are those of cifar10_vit.py."""
    config, small = fashion_mnist.get_config(), cifar10_vit.get_config()
    config.model, config.optimiser = small.model, small.optimiser
    config.model.shape.resolution = 28
    config.optimiser.ema_decay = 0.0
    return config
