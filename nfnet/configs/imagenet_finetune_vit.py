"""Fine-tuning of ViTs on ImageNet as in Zhai et al. 2022: the twin of imagenet_finetune.py.

python -m nfnet.finetune --config nfnet/configs/imagenet_finetune_vit.py:B/16 --init runs/jft_vit_b16 \
    --workdir runs/imagenet_vit_b16 --config.data.path=FOLDER

FOLDER has train/ and val/ with one folder a class. The argument after the colon is a variant.
--config.data.hold_out_every=128 selects checkpoints on 1 in 128 training images.
Expected: the accuracies of their Tables 14 to 22. Not run here.
Numbers without a comment are the paper's (arXiv 2106.04560); "released" ones are from the configuration that
its authors published.
"""

from ml_collections import ConfigDict

from nfnet.configs import imagenet_finetune

STEPS = 20_000
IMAGENET = 1_281_167  # training images


def get_config(variant: str = "B/16") -> ConfigDict:
    """Returns the settings of a variant."""
    batch_size = 512
    # 384 and 518 px in the paper; a patch has to divide the side.
    size = 518 if variant in ("g/14", "G/14") else 378 if variant.endswith("/14") else 384
    config = imagenet_finetune.get_config()
    config.model = {
        "family": "vit",
        "variant": variant,
        "num_classes": 1000,
        "head": "map",
        "bfloat16": True,
    }
    colours = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    config.data.update(image_size=size, evaluation_size=size, evaluation_margin=0, **colours)
    config.data.min_area = 0.05  # released
    config.optimiser = {
        "name": "sgd",
        "learning_rate": 0.03,  # the best one is listed for each model in Tables 14 to 22
        "schedule": "cosine",
        "warmup_steps": 500,  # released
        "weight_decay": 0.0,
        "momentum": 0.9,
        "nesterov": False,  # released
        "clip_norm": 1.0,  # released
    }
    epochs = STEPS * batch_size / IMAGENET
    config.training.update(epochs=epochs, batch_size=batch_size, label_smoothing=0.0, evaluate_every=2000)
    return config
