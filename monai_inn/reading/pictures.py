"""PNG and JPEG pictures: the size that they claim, and the checksums of a PNG."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monai_inn.files import BadFileError, require_file
from monai_inn.reading.limits import DEFLATE_RATIO, check_claim, import_library

__all__ = ["open_picture"]

_BYTES = {"L": 1, "P": 1, "1": 1, "LA": 2, "PA": 2, "RGB": 3, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}


@contextmanager
def open_picture(path: Path) -> Iterator[Any]:
    """Open a PNG or JPEG with Pillow; nothing else, whatever the file begins with.

    Raises:
        BadFileError: if it is damaged, or larger than the limit.
        ImportError: if Pillow is missing.
    """
    pillow = import_library("PIL.Image", path)
    require_file(path, "a picture")
    with warnings.catch_warnings():  # Pillow's limit on pixels is lower than ours, and a warning
        warnings.simplefilter("ignore", pillow.DecompressionBombWarning)
        with pillow.open(path, formats=("PNG", "JPEG")) as image:
            claimed = image.width * image.height * _BYTES.get(image.mode, 4)
            check_claim(path, claimed, path.stat().st_size, DEFLATE_RATIO)
            try:
                image.verify()
            except SyntaxError as error:
                raise BadFileError(f"{path}: is damaged ({error}). Copy it again.") from error
        with pillow.open(path, formats=("PNG", "JPEG")) as image:
            yield image
