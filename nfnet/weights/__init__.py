"""Weights made elsewhere: file formats, names, and the one rule by which they fit a network."""

from nfnet.weights.load import Checkpoint as Checkpoint
from nfnet.weights.load import load_checkpoint as load_checkpoint
from nfnet.weights.load import merge as merge
from nfnet.weights.load import read_checkpoint as read_checkpoint
from nfnet.weights.load import timm_config as timm_config
