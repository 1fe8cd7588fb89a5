"""A small NFNet on CIFAR-10.

python -m nfnet.train --config nfnet/configs/cifar10.py --workdir runs/cifar10 --config.data.path=FOLDER

FOLDER holds the binary version of https://www.cs.toronto.edu/~kriz/cifar.html. With the images as files in
one folder a class, add --config.data.source=image_folder.
Expected: a result has not been measured yet; an epoch is 50,000 images at 32 px.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the settings."""
    config = ConfigDict()
    config.model = {
        "family": "nfnet",
        "variant": "F0",
        "shape": {
            "widths": (64, 128, 384, 384),
            "depths": (1, 2, 4, 2),
            "strides": (1, 2, 2, 1),
            "group_width": 32,
            "stem_widths": (16, 32, 32),
            "stem_strides": (1, 1, 1, 1),
        },
        "num_classes": 10,
        "dropout_rate": 0.2,
        "stochastic_depth_rate": 0.1,
    }
    config.data = {
        "source": "cifar10",
        "image_size": 32,
        "evaluation_size": 32,
        "evaluation_margin": 0,
        "crop": "pad",
        "padding": 4,
        "flip": True,
        "randaugment_layers": 2,
        "randaugment_magnitude": 5.0,
        "mixup_alpha": 0.2,
        "cutmix_alpha": 1.0,
        "mean": (0.491, 0.482, 0.447),
        "std": (0.247, 0.243, 0.262),
    }
    config.optimiser = {
        "name": "agc_sgd",
        "learning_rate": 0.4,
        "warmup_epochs": 5.0,
        "weight_decay": 5e-5,
        "clipping": 0.01,
        "ema_decay": 0.999,
    }
    config.training = {
        "epochs": 100.0,
        "batch_size": 256,
        "label_smoothing": 0.1,
        "log_every": 50,
        "evaluate_every": 1000,
        "save_every": 500,
    }
    return config
