"""A small NFNet on Fashion-MNIST.

python -m nfnet.train --config nfnet/configs/fashion_mnist.py --workdir runs/fashion_mnist \
    --config.data.path=FOLDER

FOLDER holds the four idx files of https://github.com/zalandoresearch/fashion-mnist, gzipped or not.
Expected: a result has not been measured yet; an epoch is 60,000 images at 28 px.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the settings."""
    config = ConfigDict()
    config.model = {
        "family": "nfnet",
        "variant": "F0",
        "shape": {
            "widths": (64, 128, 256),
            "depths": (1, 1, 1),
            "strides": (1, 2, 2),
            "group_width": 32,
            "stem_widths": (16, 32, 32),
            "stem_strides": (1, 1, 1, 2),
        },
        "num_classes": 10,
        "dropout_rate": 0.2,
        "stochastic_depth_rate": 0.0,
    }
    config.data = {
        "source": "fashion_mnist",
        "image_size": 28,
        "evaluation_size": 28,
        "evaluation_margin": 0,
        "crop": "pad",
        "padding": 2,
        "flip": True,
        "mean": (0.286, 0.286, 0.286),
        "std": (0.353, 0.353, 0.353),
    }
    config.optimiser = {
        "name": "agc_sgd",
        "learning_rate": 0.4,
        "warmup_epochs": 1.0,
        "weight_decay": 5e-5,
        "clipping": 0.01,
    }
    config.training = {
        "epochs": 20.0,
        "batch_size": 256,
        "label_smoothing": 0.1,
        "log_every": 50,
        "evaluate_every": 1000,
        "save_every": 500,
    }
    return config
