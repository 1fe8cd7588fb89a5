"""`python -m nfnet` is the command `nfnet`."""

import sys

from nfnet.command import script

if __name__ == "__main__":
    sys.exit(script())
