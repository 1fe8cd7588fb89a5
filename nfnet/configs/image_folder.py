"""Fine-tuning on a folder of your own, one folder of images a class.

    nfnet finetune image_folder --weights dm_nfnet_f0.dm_in1k --data FOLDER --workdir runs/mine

(`python -m nfnet.finetune --config nfnet/configs/image_folder.py` is the same.) FOLDER holds train/ and val/ (or
validation/, valid/, test/) with the classes' folders in them, or the classes' folders alone: then one image in
hold_out_every of each class is held out. Network, size of images, mean and std are those of the weights. With
image_folder:classifier the body stays as it is, which takes a third of the time and suits folders of tens of images a
class. --config.optimiser.sam_rho=0.05 adds sharpness-aware minimisation, at up to twice the time;
--config.model.bfloat16=true is for accelerators.
Expected: depends on the images. On scikit-learn's digits as files, in the notebook 06_use_nfnets.

Brock et al. 2021, appendix A.5 ("A.5"), fine-tune on ImageNet, with batches of 2048; what a few thousand images need
instead is chosen ("chosen").
"""

from ml_collections import ConfigDict


def get_config(trainable: str = "all") -> ConfigDict:
    """Returns the settings to train "all" of a network or its "classifier" alone."""
    config = ConfigDict()
    config.model = {
        "family": "nfnet",
        "variant": "F0",  # if trained from scratch
        "from_weights": True,
        "num_classes": 0,  # as many as there are folders
        "stochastic_depth_rate": 0.1 if trainable == "all" else 0.0,  # A.5
    }
    config.data = {
        "source": "own_folder",
        "train_split": "train",
        "held_out_split": "held_out",
        "hold_out_every": 5,  # chosen
        "image_size": 224,  # where the weights do not tell, as the next two
        "evaluation_size": 256,
        "evaluation_margin": 32,
        "crop": "random_resized",
        "min_area": 0.25,  # chosen: crops that still show what the class is
        "flip": True,
    }
    config.optimiser = {
        "name": "agc_sgd",  # decays neither gains nor biases
        "trainable": trainable,
        "learning_rate": 0.05 if trainable == "all" else 0.1,  # chosen: the body at half of A.5's
        "schedule": "cosine",
        "warmup_epochs": 0.5,  # chosen
        "weight_decay": 1e-5,  # A.5
        "momentum": 0.9,
        "clipping": 0.01,
        "ema_decay": 0.99,  # chosen
    }
    config.training = {
        "epochs": 10.0,  # chosen
        "batch_size": 32,  # chosen
        "label_smoothing": 0.1,  # chosen
        "evaluation_batch_size": 32,
        "log_every": 10,
        "evaluate_every": 100,
        "save_every": 100,
    }
    return config
