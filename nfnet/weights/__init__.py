"""Weights made elsewhere: file formats, names, origins, and the one rule by which parameters fit a network.

- `load`: what users call. `fit`: the rule, for loading, fine-tuning, evaluating and resuming.
- `origins`: whose weights are known, one entry each; their conversions are `timm_nfnet`, `timm_vit`, `big_vision`.
- `files`, `pickles`: arrays from files that may be made to harm. `vit`: position embeddings, and names of ViTs.

It imports models, and is imported by training; a new origin is a new conversion and an entry in `origins`.
"""

from nfnet.weights.load import Checkpoint as Checkpoint
from nfnet.weights.load import load_checkpoint as load_checkpoint
from nfnet.weights.load import merge as merge
from nfnet.weights.load import read_checkpoint as read_checkpoint
from nfnet.weights.origins import timm_config as timm_config
