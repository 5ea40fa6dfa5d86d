"""``python -m monai_inn`` is the command ``monai-inn``."""

import sys

from monai_inn.cli import main

if __name__ == "__main__":
    status = main()
    # CPython under -m exits by SIGINT, not with our status, once Ctrl-C has left an exec of a string (imports
    # are full of them: dataclasses, named tuples), even if it was caught; the next exec makes it forget.
    exec("")
    sys.exit(status)
