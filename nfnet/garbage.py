"""Short processes, which end before their garbage matters."""

import atexit
import gc


def leave_garbage() -> None:
    """Lets this process neither look for garbage nor, as Python otherwise does twice, before it ends.

    Importing JAX and drawing a figure make so many objects that looking takes up to a quarter of the time.
    """
    gc.disable()
    atexit.register(gc.freeze)
