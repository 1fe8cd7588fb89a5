"""Pre-training of NFNets as in Smith et al. 2023 (arXiv 2310.16764).

python -m nfnet.train --config nfnet/configs/jft_pretrain.py:F3 --workdir runs/jft_f3_1 \
    --config.data.path=FOLDER --config.training.epochs=1 --config.optimiser.learning_rate=1.6

FOLDER holds ArrayRecord files *train* and *validation* and labels.txt, see nfnet/data/records.py. JFT-4B is
not public; any large labelled set will do. The argument after the colon is a variant: F0, F1, F3, F3+, F7 or
F7+. All models, budgets and learning rates: python -m nfnet.study nfnet/configs/studies/jft_pretrain.toml.
Expected: the held-out losses and TPU-v4 core hours of the paper's Figure 2. Not run here.

What the paper does not state is marked below: from Brock et al. 2021, appendix A.5 ("A.5"), or chosen
("chosen").
"""

from ml_collections import ConfigDict


def get_config(variant: str = "F0") -> ConfigDict:
    """Returns the settings of a variant."""
    config = ConfigDict()
    config.model = {
        "family": "nfnet",
        "variant": variant,
        "plus_width": "published",  # which reading of "+" was trained is not stated
        "num_classes": 30_000,
        "dropout_rate": 0.0,  # chosen
        "stochastic_depth_rate": 0.0,  # chosen
        "bfloat16": True,  # A.5
        "remat": variant.startswith("F7"),  # to fit into memory; changes no result
    }
    config.data = {
        "source": "array_record",
        "held_out_split": "validation",
        "image_size": 224,
        "evaluation_size": 256,
        "evaluation_margin": 32,
        "crop": "random_resized",  # A.5: crops and flips only
        "min_area": 0.08,
        "flip": True,
        "workers": 16,
    }
    config.optimiser = {
        "name": "agc_sgd",
        "learning_rate": 1.6,  # the best one for small budgets; tuned on a grid of factors of 2
        "schedule": "cosine",
        "warmup_steps": 5000,  # chosen
        "weight_decay": 1e-6,  # A.5
        "momentum": 0.9,  # A.5
        "clipping": 0.01,  # A.5
        "ema_decay": 0.0,  # A.5
    }
    config.training = {
        "epochs": 1.0,  # 0.25, 0.5, 1, 2, 4 or 8
        "batch_size": 4096,
        "loss": "softmax",  # chosen
        "label_smoothing": 0.0,  # chosen
        "shard_state": 1,  # 8 and more spread parameters and momentum, for F7+ on small devices
        "evaluation_batch_size": 1024,
        "log_every": 100,
        "evaluate_every": 0,  # at the end, as in the paper
        "save_every": 2000,
    }
    return config
