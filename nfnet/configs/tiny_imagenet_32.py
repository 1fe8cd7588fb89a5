"""Pre-training of small NFNets on Tiny-ImageNet at 32 px, as paper/replication/design.md lays down.

python -m nfnet.train --config nfnet/configs/tiny_imagenet_32.py --workdir runs/tiny_imagenet_32
--config.data.path=FOLDER

FOLDER holds the decoded images, see nfnet/data/arrays.py; python -m paper.replication.prepare writes them. One image
in ten is held out, in every class alike. All models, budgets and learning rates: nfnet.study with the files in
paper/replication/studies.
Expected: what paper/replication/runs holds.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the settings of the smallest network."""
    config = ConfigDict()
    config.model = {
        "family": "nfnet",
        "variant": "F0",  # what `shape` does not change
        "shape": {
            "widths": (24, 48, 96, 96),
            "depths": (1, 1, 2, 1),
            "group_width": 12,
            "stem_widths": (8, 8, 12),
        },
        "num_classes": 200,
        "dropout_rate": 0.0,  # as in pre-training on JFT
        "stochastic_depth_rate": 0.0,
    }
    config.data = {
        "source": "arrays",
        "hold_out_every": 10,
        "image_size": 32,
        "evaluation_size": 32,
        "evaluation_margin": 0,
        "crop": "pad",
        "padding": 4,
        "flip": True,
    }
    config.optimiser = {
        "name": "agc_sgd",
        "learning_rate": 0.4,  # tuned on a grid of factors of 2
        "schedule": "cosine",
        "warmup_steps": 100,
        "weight_decay": 1e-6,
        "momentum": 0.9,
        "clipping": 0.01,
    }
    config.training = {
        "epochs": 1.0,
        "batch_size": 64,
        "log_every": 200,
        "evaluate_every": 0,  # at the end, as in the paper
        "evaluation_batch_size": 250,
        "save_every": 1000,
        "keep": 1,
    }
    return config
