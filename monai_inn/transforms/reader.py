"""A reader for MONAI's ``LoadImage``, for pipelines that choose readers and not transforms."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
from monai.data.image_reader import ImageReader
from monai.data.meta_tensor import MetaTensor
from monai.utils.enums import MetaKeys

from monai_inn.transforms.readers import READABLE, read_multispectral

__all__ = ["MultispectralReader"]


class MultispectralReader(ImageReader):
    """Reads what ``read_multispectral`` does, bands first: ``LoadImage(reader=MultispectralReader)``.

    Args:
        bands: indices or names of the bands to keep; all by default.
    """

    def __init__(self, bands: Sequence[int | str] | None = None) -> None:
        self.bands = bands

    def verify_suffix(self, filename: Sequence[str | PathLike[str]] | str | PathLike[str]) -> bool:
        """Whether all files end like a format that can be read."""
        names = [filename] if isinstance(filename, str | PathLike) else filename
        return all(str(name).lower().endswith(READABLE) for name in names)

    def read(
        self, data: Sequence[str | PathLike[str]] | str | PathLike[str], **kwargs: Any
    ) -> list[MetaTensor]:
        """Read one file or several; see ``read_multispectral`` for what is refused."""
        names = [data] if isinstance(data, str | PathLike) else data
        return [read_multispectral(name, kwargs.get("bands", self.bands)) for name in names]

    def get_data(self, img: Sequence[MetaTensor]) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the bands of all files ``(bands, *spatial)``, and the metadata of the first.

        Raises:
            ValueError: if files differ in size.
        """
        shapes = {tuple(one.shape[1:]) for one in img}
        if len(shapes) != 1:
            raise ValueError(f"files have the sizes {sorted(shapes)}; give files of one size.")
        first = img[0]
        labels = dict(first.meta) if len(img) == 1 else {}  # those of the bands are of one file
        known = {MetaKeys.AFFINE: first.affine, MetaKeys.ORIGINAL_CHANNEL_DIM: 0}
        shape = {MetaKeys.SPATIAL_SHAPE: np.array(first.shape[1:])}
        return np.concatenate([one.numpy() for one in img]), labels | known | shape
