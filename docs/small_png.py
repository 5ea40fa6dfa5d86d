"""Make pictures of the documentation small, for they stay in the history: python docs/small_png.py FILE...

Each keeps its size in pixels and gets a palette of as many colours as fit into 250 kB.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image

MOST_BYTES, COLOURS = 250_000, (256, 128, 64, 32)


def small(path: Path) -> bytes:
    """The picture with the largest palette that fits, else with the smallest."""
    picture = Image.open(path).convert("RGB")
    for number in COLOURS:
        # Median cut would leave rare colours, such as those of a colour bar, to a handful.
        method, written = Image.Quantize.MAXCOVERAGE, io.BytesIO()
        few = picture.quantize(number, method, kmeans=8, dither=Image.Dither.NONE)
        few.save(written, "PNG", optimize=True)
        if written.tell() <= MOST_BYTES:
            break
    return written.getvalue()


def main() -> None:
    """Write each file anew."""
    for path in map(Path, sys.argv[1:]):
        before = path.stat().st_size
        path.write_bytes(small(path))
        print(f"{path}: {before // 1024} kB before, {path.stat().st_size // 1024} kB now")


if __name__ == "__main__":
    main()
