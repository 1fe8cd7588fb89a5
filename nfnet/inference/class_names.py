"""What classes are called: by the weights, by a file, or by ImageNet.

imagenet_classes.tsv has the 1000 classes of ImageNet (ILSVRC 2012) in the order of the logits: WordNet's number and
words. It is made from imagenet_synsets.txt and imagenet_synset_to_lemma.txt of timm 1.0.31 (Apache-2.0), which are of
WordNet 3.0 (its licence permits use and copies with the notice in LICENSE.wordnet).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from nfnet.errors import UserError, printable
from nfnet.training.class_names import LONGEST

if TYPE_CHECKING:
    from nfnet.weights.pretrained import Pretrained


@cache
def imagenet_classes() -> tuple[tuple[str, str], ...]:
    """Returns number and words of ImageNet's classes, such as ("n01440764", "tench, Tinca tinca"), by logit."""
    text = Path(__file__).with_name("imagenet_classes.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines()]
    return tuple((number, words) for number, words in rows)


def is_imagenet(pretrained: Pretrained) -> bool:
    """Tells whether the logits are ImageNet's: published weights, none of this package's runs, of 1000 classes."""
    return pretrained.class_names is None and pretrained.num_classes == 1000 and bool(pretrained.origin.trained_with)


def class_names(pretrained: Pretrained, file: Path | None = None) -> tuple[str, ...]:
    """Returns one name a logit.

    Args:
        pretrained: The network; where it brings no names and is not ImageNet's, they are "class 0" and so on.
        file: A text with one name a line instead, in the order of the logits.

    Raises:
        UserError: If the file cannot be read or has another number of names.
    """
    if file is not None:
        from nfnet.data.folder import read_names

        names = tuple(read_names(file))
        if len(names) != pretrained.num_classes:
            raise UserError(
                f"{printable(file)} has {len(names)} names for {pretrained.num_classes} classes: give one a line."
            )
        return names
    if pretrained.class_names is not None:
        return pretrained.class_names
    if is_imagenet(pretrained):
        return tuple(words for _, words in imagenet_classes())
    return tuple(f"class {number}" for number in range(pretrained.num_classes))


def label_map(
    folders: Sequence[str], pretrained: Pretrained, names: Sequence[str], *, listed: bool = False
) -> tuple[list[int], str]:
    """Returns the logit of each class folder, and by what they were matched.

    Folders are matched by name; for ImageNet's weights also by WordNet's number, so that a part of its classes can be
    evaluated; and otherwise by order, if there are as many as logits. Where some but not all are known by name, the
    order would contradict the names (a folder misspelt, or of another class, moves all that follow it).

    Args:
        folders: Names of the class folders, sorted.
        pretrained: The network.
        names: One a logit.
        listed: Whether a file lists the names, which then have to be the folders'.

    Raises:
        UserError: If none of these is possible.
    """
    # A run lists its classes escaped, one a line.
    folders = [folder if folder in names else printable(folder, LONGEST) for folder in folders]
    if listed and (unknown := next((folder for folder in folders if folder not in names), None)):
        raise UserError(f"--classes lacks the class folder {printable(unknown)} of the data: add it.")
    keys = [("class names of the weights", list(names))]
    if is_imagenet(pretrained):
        keys.append(("WordNet numbers", [number for number, _ in imagenet_classes()]))
    for what, known in keys:
        place = {name: logit for logit, name in enumerate(known)}
        if all(folder in place for folder in folders):
            if twice := next((folder for folder in folders if known.count(folder) > 1), None):
                raise UserError(f"two logits are of the class {printable(twice)}: list other names with --classes.")
            return [place[folder] for folder in folders], what
        if any(folder in place for folder in folders):
            unknown = next(folder for folder in folders if folder not in place)
            raise UserError(
                f"the class folder {printable(unknown)} is none of the {what}, though others are: rename or remove it, "
                "or list the folders in the order of the logits with --classes."
            )
    if len(folders) == pretrained.num_classes:
        return list(range(len(folders))), "order of the sorted folders"
    raise UserError(
        f"the data have {len(folders)} class folders, of which {printable(folders[0])} is the first, and the weights "
        f"{pretrained.num_classes} other classes: list the folders in the order of the logits with --classes."
    )
