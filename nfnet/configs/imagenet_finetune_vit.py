"""Fine-tuning of ViTs on ImageNet as in Zhai et al. 2022: the twin of imagenet_finetune.py.

python -m nfnet.finetune --config nfnet/configs/imagenet_finetune_vit.py:B/16 --init runs/jft_vit_b16 \
    --workdir runs/imagenet_vit_b16 --config.data.path=FOLDER

FOLDER has train/ and val/ with one folder a class. The argument after the colon is a variant.
Expected: the accuracies of their Tables 14 to 22. Not run here.
Numbers without a comment are the paper's (arXiv 2106.04560); "released" ones are from the configuration that
its authors published.
"""

from ml_collections import ConfigDict

STEPS = 20_000
IMAGENET = 1_281_167  # training images


def get_config(variant: str = "B/16") -> ConfigDict:
    """Returns the settings of a variant."""
    batch_size = 512
    # 384 and 518 px in the paper; a patch has to divide the side.
    size = 518 if variant in ("g/14", "G/14") else 378 if variant.endswith("/14") else 384
    config = ConfigDict()
    config.model = {
        "family": "vit",
        "variant": variant,
        "num_classes": 1000,
        "head": "map",
        "bfloat16": True,
    }
    config.data = {
        "source": "image_folder",
        "path": "",
        "held_out_split": "val",
        "image_size": size,
        "evaluation_size": size,
        "evaluation_margin": 0,
        "crop": "random_resized",
        "min_area": 0.05,  # released
        "flip": True,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "workers": 16,
    }
    config.optimiser = {
        "name": "sgd",
        "learning_rate": 0.03,  # the best one is listed for each model in Tables 14 to 22
        "schedule": "cosine",
        "warmup_steps": 500,  # released
        "weight_decay": 0.0,
        "momentum": 0.9,
        "clip_norm": 1.0,  # released
    }
    config.training = {
        "epochs": STEPS * batch_size / IMAGENET,
        "batch_size": batch_size,
        "loss": "softmax",
        "evaluation_batch_size": 512,
        "log_every": 100,
        "evaluate_every": 2000,
        "save_every": 1000,
    }
    return config
