"""Fine-tuning of NFNets on ImageNet as in Smith et al. 2023 (arXiv 2310.16764).

python -m nfnet.finetune --config nfnet/configs/imagenet_finetune.py:F3 --init runs/jft_f3_1 \
    --workdir runs/imagenet_f3_1 --config.data.path=FOLDER

FOLDER has train/ and val/ with one folder a class. The argument after the colon is a variant; "F7+,4" adds
repeated augmentation of multiplicity 4 (footnote 4), at the same cost.
--config.data.hold_out_every=128 selects checkpoints on 1 in 128 training images.
Expected: the top-1 errors of the paper's Figure 1. Not run here.

What the paper does not state is marked below: from Brock et al. 2021, appendix A.5 ("A.5"), or chosen
("chosen").
"""

from ml_collections import ConfigDict


def get_config(argument: str = "F0") -> ConfigDict:
    """Returns the settings of VARIANT or VARIANT,REPEATS."""
    variant, _, repeats = argument.partition(",")
    config = ConfigDict()
    config.model = {
        "family": "nfnet",
        "variant": variant,
        "plus_width": "published",  # which reading of "+" was trained is not stated
        "num_classes": 1000,
        "dropout_rate": 0.25,  # A.5
        "stochastic_depth_rate": 0.1,  # A.5
        "bfloat16": True,
        "remat": variant.startswith("F7"),  # to fit into memory; changes no result
    }
    config.data = {
        "source": "image_folder",
        "held_out_split": "val",
        "image_size": 384,
        "evaluation_size": 480,
        "evaluation_margin": 32,
        "crop": "random_resized",  # chosen
        "min_area": 0.08,
        "flip": True,
        "repeats": int(repeats or 1),
        "workers": 16,
    }
    config.optimiser = {
        "name": "agc_sgd",
        "learning_rate": 0.1,  # A.5, not scaled with the batch
        "schedule": "cosine",
        "warmup_steps": 5000,  # A.5
        "weight_decay": 1e-5,  # A.5
        "momentum": 0.9,
        "clipping": 0.01,
        "ema_decay": 0.99999,  # A.5 has an average; its decay is that of training from scratch
        "sam_rho": 0.05,  # A.5
        "sam_fraction": 0.2,  # A.5: ascent on a fifth of the batch
    }
    config.training = {
        "epochs": 50.0,
        "batch_size": 2048,  # A.5
        "loss": "softmax",
        "label_smoothing": 0.1,  # chosen
        "shard_state": 1,
        "evaluation_batch_size": 512,
        "log_every": 100,
        "evaluate_every": 2500,
        "save_every": 1000,
    }
    return config
