"""Weights made elsewhere: names, file formats, origins, and the one rule by which parameters fit a network.

- `pretrained`: what `nfnet.load` calls. `load`: a file into a network that you made.
- `zoo`: weights that have a name, from zoo.toml. `find` and `download`: from a name to a file on this machine.
- `fit`: the rule, for loading, fine-tuning, evaluating and resuming. `infer`: the network that shapes belong to.
- `origins`: whose weights are known, one entry each; their conversions are `timm_nfnet`, `timm_vit`, `big_vision`.
- `files`, `pickles`: arrays from files that may be made to harm. `vit`: position embeddings, and names of ViTs.

It imports models, and is imported by training, but for `pretrained`, which reads runs too; a new origin is a new
conversion and an entry in `origins`. Nothing is imported here, so that names are known without JAX.
"""
