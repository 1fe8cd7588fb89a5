"""A small NFNet on Tiny-ImageNet: 200 classes, 64 px.

python -m nfnet.train --config nfnet/configs/tiny_imagenet.py --workdir runs/tiny_imagenet
--config.data.path=FOLDER

FOLDER is the unpacked archive, with train/ and val/val_annotations.txt.
Expected: a result has not been measured yet; an epoch is 100,000 images at 64 px.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the settings."""
    config = ConfigDict()
    config.model = {
        "family": "nfnet",
        "variant": "F0",
        "shape": {
            "widths": (128, 256, 768, 768),
            "depths": (1, 2, 6, 3),
            "strides": (1, 2, 2, 2),
            "group_width": 64,
            "stem_widths": (16, 32, 64),
            "stem_strides": (1, 1, 1, 2),
        },
        "num_classes": 200,
        "dropout_rate": 0.2,
        "stochastic_depth_rate": 0.25,
        "bfloat16": True,
    }
    config.data = {
        "source": "tiny_imagenet",
        "held_out_split": "val",
        "image_size": 64,
        "evaluation_size": 64,
        "evaluation_margin": 8,
        "crop": "random_resized",
        "min_area": 0.25,
        "flip": True,
        "randaugment_layers": 2,
        "randaugment_magnitude": 5.0,
        "mixup_alpha": 0.2,
        "cutmix_alpha": 1.0,
        "workers": 4,
    }
    config.optimiser = {
        "name": "agc_sgd",
        "learning_rate": 0.4,
        "warmup_epochs": 5.0,
        "weight_decay": 2e-5,
        "clipping": 0.01,
        "ema_decay": 0.9999,
    }
    config.training = {
        "epochs": 100.0,
        "batch_size": 1024,
        "label_smoothing": 0.1,
        "log_every": 20,
        "evaluate_every": 500,
        "save_every": 250,
    }
    return config
