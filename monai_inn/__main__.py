"""``python -m monai_inn`` is the command ``monai-inn``."""

import sys

from monai_inn.cli import main

if __name__ == "__main__":
    sys.exit(main())
