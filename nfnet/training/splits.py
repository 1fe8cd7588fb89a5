"""The data of a run: what it trains on and what it is evaluated on."""

from __future__ import annotations

import logging

import jax

from nfnet.data.pipeline import Reading
from nfnet.data.source import Source, check_classes, check_readable, part
from nfnet.data.sources import SOURCES, open_source
from nfnet.errors import printable
from nfnet.training.config import DataConfig

_log = logging.getLogger(__name__)


def _checked(num_classes: int, *sources: Source) -> None:
    """Checks what can be checked before anything is read, and says in one line what lies beside the data.

    0 classes are as many as the data have.
    """
    for source in sources:
        check_readable(0, len(source), source.name)
    check_classes(sources[0], sources[-1], num_classes or len(sources[0].class_names))
    left_out = {source.left_out: source.name for source in reversed(sources) if source.left_out}
    if left_out:
        _log.warning("left out: %s", "; ".join(f"{printable(what)} in {printable(n)}" for what, n in left_out.items()))


def _open(data: DataConfig, split: str) -> Source:
    return open_source(data.source, data.path, split, data.classes, hold_out_every=data.hold_out_every)


def open_splits(data: DataConfig, num_classes: int) -> tuple[Source, Source]:
    """Opens the training and the held-out split.

    Raises:
        UserError: data that is missing, empty, damaged or of other classes.
    """
    train = _open(data, data.train_split)
    if (every := data.hold_out_every) and not SOURCES[data.source].holds_out:
        splits: tuple[Source, Source] = part(train, every, held_out=False), part(train, every, held_out=True)
    else:
        splits = train, _open(data, data.held_out_split)
    _checked(num_classes, *splits)
    return splits


def open_held_out(data: DataConfig, num_classes: int) -> Source:
    """Opens the held-out split alone, which needs no training split beside it; see `open_splits`."""
    if data.hold_out_every and not SOURCES[data.source].holds_out:
        return open_splits(data, num_classes)[1]
    held_out = _open(data, data.held_out_split)
    _checked(num_classes, held_out)
    return held_out


def reading(data: DataConfig) -> Reading:
    """Returns how this host reads its share of each batch."""
    return Reading(jax.process_index(), jax.process_count(), data.workers, data.threads, data.unreadable)
