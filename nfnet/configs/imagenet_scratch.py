"""NFNets on ImageNet from scratch, as in Brock et al. 2021 (arXiv 2102.06171), Section 4.1 and appendix A.

python -m nfnet.train --config nfnet/configs/imagenet_scratch.py:F0 --workdir runs/imagenet_f0 \
    --config.data.path=FOLDER

FOLDER has train/ and val/ with one folder a class. The argument after the colon is a variant, F0 to F6.
--config.data.hold_out_every=128 selects checkpoints on 1 in 128 training images.
Expected: the top-1 accuracies of their Table 3. Not run here.
"""

from ml_collections import ConfigDict

from nfnet.models.nfnet import find_variant

RANDAUGMENT_MAGNITUDE = {"F0": 5.0, "F1": 10.0, "F2": 10.0}  # 15 for larger variants


def get_config(variant: str = "F0") -> ConfigDict:
    """Returns the settings of a variant."""
    shape = find_variant(variant)
    config = ConfigDict()
    config.model = {
        "family": "nfnet",
        "variant": variant,
        "num_classes": 1000,
        "stochastic_depth_rate": 0.25,  # the dropout rate is the variant's
        "bfloat16": True,
    }
    config.data = {
        "source": "image_folder",
        "held_out_split": "val",
        "image_size": shape.train_resolution,
        "evaluation_size": shape.test_resolution,
        "evaluation_margin": 32,
        "crop": "random_resized",
        "min_area": 0.08,
        "flip": True,
        "randaugment_layers": 4,
        "randaugment_magnitude": RANDAUGMENT_MAGNITUDE.get(variant, 15.0),
        "mixup_alpha": 0.2,  # on one half of the batch,
        "cutmix_alpha": 1.0,  # on the other
        "workers": 16,
    }
    config.optimiser = {
        "name": "agc_sgd",
        "learning_rate": 1.6,  # 0.1 * batch size / 256
        "schedule": "cosine",
        "warmup_epochs": 5.0,
        "weight_decay": 2e-5,
        "momentum": 0.9,
        "clipping": 0.01,
        "ema_decay": 0.99999,
    }
    config.training = {
        "epochs": 360.0,
        "batch_size": 4096,
        "loss": "softmax",
        "label_smoothing": 0.1,
        "evaluation_batch_size": 1024,
        "log_every": 100,
        "evaluate_every": 3000,
        "save_every": 1000,
    }
    return config
