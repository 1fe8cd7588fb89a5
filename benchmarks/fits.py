"""Times all fits and bootstraps, as compiled first and once more; prints one JSON object."""

from __future__ import annotations

import json
import time


def main() -> None:
    """Prints the seconds of both passes and of the imports."""
    start = time.perf_counter()
    from functools import cached_property

    from paper.fits.scaling import ScalingFits
    from paper.study import Study

    imported = time.perf_counter()
    parts = [name for name, value in vars(ScalingFits).items() if isinstance(value, cached_property)]
    seconds = []
    for _ in range(2):
        fits = Study.load().fits
        begin = time.perf_counter()
        for name in parts:
            getattr(fits, name)
        seconds.append(time.perf_counter() - begin)
    print(json.dumps({"imports": imported - start, "fits, first": seconds[0], "fits, compiled": seconds[1]}))


if __name__ == "__main__":
    main()
