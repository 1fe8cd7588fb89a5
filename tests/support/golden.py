"""Golden outputs of the released NFNet code, and the rule that regenerates their parameters and images.

See tests/data/golden/README.md. The rule needs NumPy alone: the generator of each parameter is seeded with
the CRC-32 of its name plus the case's seed.
"""

import json
import zlib
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "golden"

# Variant as the golden files name it -> (our variant, reading of '+', manifest file).
NETWORKS = {
    **{f"F{n}": (f"F{n}", "published", f"F{n}.json") for n in range(8)},
    **{f"F{n}+": (f"F{n}+", "released", f"F{n}plus.json") for n in range(8)},
    **{f"F{n}+paper": (f"F{n}+", "published", f"F{n}plus_paper192.json") for n in range(8)},
}


def read_json(name):
    return json.loads((GOLDEN / name).read_text())


def read_manifest(name, num_classes=None):
    """Returns {"module/name": shape}, the classifier resized to num_classes."""
    manifest = {key: tuple(shape) for key, shape in read_json(f"manifests/{name}").items()}
    if num_classes is not None:
        for key in ("NFNet/~/linear/w", "NFNet/~/linear/b"):
            manifest[key] = (*manifest[key][:-1], num_classes)
    return manifest


def generator(key, seed):
    return np.random.Generator(np.random.PCG64(zlib.crc32(key.encode()) + seed))


def make_parameters(manifest, seed, dtype=np.float32):
    """Returns parameters by the rule, {module: {name: array}}, rounded to float32 and then cast."""
    parameters = {}
    for key, shape in manifest.items():
        module, name = key.rsplit("/", 1)
        z = generator(key, seed).standard_normal(shape)
        if key == "NFNet/~/linear/w":
            value = 0.01 * z
        elif name == "w":
            value = z / np.sqrt(np.prod(shape[:-1]))
        elif name == "gain":
            value = 1 + 0.1 * z
        elif name == "skip_gain":
            value = 0.5 + 0.1 * z
        else:
            value = 0.1 * z
        parameters.setdefault(module, {})[name] = np.asarray(value, np.float32).astype(dtype)
    return parameters


def make_images(batch, side, seed, dtype=np.float32):
    """Returns smooth images [batch, side, side, 3] by the rule; side must be a multiple of 8."""
    rng = np.random.Generator(np.random.PCG64(seed))
    coarse = rng.standard_normal((batch, side // 8, side // 8, 3))
    smooth = np.repeat(np.repeat(coarse, 8, axis=1), 8, axis=2)
    images = smooth + 0.1 * rng.standard_normal((batch, side, side, 3))
    return images.astype(np.float32).astype(dtype)


def flatten(parameters):
    """Returns {"module/name": array} of {module: {name: array}}."""
    return {f"{module}/{name}": value for module, group in parameters.items() for name, value in group.items()}


def checksum(arrays):
    """Returns [sum, sum of squares] in float64."""
    wide = [np.asarray(array, np.float64) for array in arrays]
    return np.array([sum(a.sum() for a in wide), sum((a**2).sum() for a in wide)])


def deviation(actual, expected):
    """Returns the largest difference as a share of the largest expected magnitude."""
    expected = np.asarray(expected)
    return float(np.max(np.abs(np.asarray(actual) - expected)) / np.max(np.abs(expected)))
