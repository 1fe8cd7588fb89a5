"""Pre-training of ViTs on JFT-3B as in Zhai et al. 2022 (arXiv 2106.04560): the twin of jft_pretrain.py.

python -m nfnet.train --config nfnet/configs/jft_pretrain_vit.py:B/16 --workdir runs/jft_vit_b16 \
    --config.data.path=FOLDER --config.training.epochs=1

FOLDER is that of jft_pretrain.py. The argument after the colon is a variant.
Expected: the results of their Figure 2 and Tables 4 to 22. Not run here.
Numbers without a comment are the paper's; "released" ones are from the configuration that its authors
published.
"""

from ml_collections import ConfigDict

from nfnet.configs import jft_pretrain


def get_config(variant: str = "B/16") -> ConfigDict:
    """Returns the settings of a variant."""
    config = jft_pretrain.get_config()
    config.model = {
        "family": "vit",
        "variant": variant,
        "num_classes": 29_593,
        "head": "map",
        "logit_bias": -10.0,  # released
        "bfloat16": True,
    }
    config.data.update(evaluation_size=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    config.data.min_area = 0.05  # released
    config.optimiser = {
        "name": "adafactor",
        "learning_rate": 8e-4,  # released
        "schedule": "rsqrt",
        "warmup_steps": 10_000,
        "cooldown_steps": 50_000,  # released
        "timescale": 10_000,
        "weight_decay": 0.03,
        "head_weight_decay": 3.0,
        "momentum": 0.9,
        "clip_norm": 1.0,  # released
    }
    config.training.loss = "sigmoid"
    return config
