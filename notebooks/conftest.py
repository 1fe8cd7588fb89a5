"""Where notebooks are compared with what was stored, knobs keep still."""

import os

from figures.notebook import STATIC

os.environ[STATIC] = "1"
