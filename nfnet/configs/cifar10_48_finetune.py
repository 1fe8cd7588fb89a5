"""Fine-tuning on CIFAR-10 at 48 px of the networks of tiny_imagenet_32.py, as paper/replication/design.md lays down.

python -m nfnet.finetune --config nfnet/configs/cifar10_48_finetune.py --init RUN --workdir runs/cifar10_48
--config.data.path=FOLDER --config.data.image_size=48 --config.data.evaluation_size=48

FOLDER holds the decoded images, see nfnet/data/arrays.py; python -m paper.replication.prepare writes them. As on
ImageNet (imagenet_finetune.py), but shorter, in smaller batches and without an average.
Expected: what paper/replication/runs holds.
"""

from ml_collections import ConfigDict

from nfnet.configs import imagenet_finetune


def get_config() -> ConfigDict:
    """Returns the settings."""
    config = imagenet_finetune.get_config()
    config.model = {
        "family": "nfnet",
        "variant": "F0",  # if trained from scratch
        "from_weights": True,
        "num_classes": 10,
        "stochastic_depth_rate": 0.1,
    }
    config.data = {
        "source": "arrays",
        "held_out_split": "test",
        "image_size": 48,
        "evaluation_size": 48,
        "evaluation_margin": 0,
        "crop": "pad",
        "padding": 4,
        "flip": True,
    }
    config.optimiser.update(warmup_steps=100, ema_decay=0.0)
    config.training = {
        "epochs": 2.0,
        "batch_size": 64,
        "label_smoothing": 0.1,
        "log_every": 200,
        "evaluate_every": 0,
        "evaluation_batch_size": 250,
        "save_every": 1000,
        "keep": 1,
    }
    return config
