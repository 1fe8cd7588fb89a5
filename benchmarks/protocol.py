"""A worker's side of the conversation with `benchmarks.driver`; imports nothing of ours, so that any Python runs it."""

import json
import os
import resource
import sys
import time


def peak_rss_bytes():  # type: ignore[no-untyped-def]
    """Returns the most memory that this process held at once."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            # Unlike getrusage's, this mark does not start at the parent's.
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def serve(prepare, peak_device_bytes=lambda: None, profile=lambda step: None):  # type: ignore[no-untyped-def]
    """Runs a worker.

    Args:
        prepare: Takes the settings and returns a function that takes one step and waits for it, and the description.
        peak_device_bytes: Returns the most memory of the accelerator that was in use at once, None without one.
        profile: Takes that function and returns the seconds that each kind of operation takes.
    """
    # What libraries print must not get between the lines of the conversation.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(record):  # type: ignore[no-untyped-def]
        answers.write(json.dumps(record) + "\n")
        answers.flush()

    step, description = prepare(json.loads(sys.argv[1]))
    answer(description)
    for line in sys.stdin:
        if line.strip() == "profile":
            answer({"kernels": profile(step)})
            continue
        start = time.perf_counter()
        step()
        answer({"seconds": time.perf_counter() - start})
    answer({"peak_rss_bytes": peak_rss_bytes(), "peak_device_bytes": peak_device_bytes()})
