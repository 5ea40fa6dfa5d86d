"""Transforms that put posterior maps and out-of-distribution masks into a MONAI chain."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol

import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.transform import Transform
from torch import Tensor

from monai_inn.transforms.dictionary import EachKey
from monai_inn.transforms.images import as_image

__all__ = [
    "OutOfDistributionMask",
    "OutOfDistributionMaskd",
    "PosteriorLike",
    "PosteriorMaps",
    "PosteriorMapsd",
]


class PosteriorLike(Protocol):
    """Anything that turns an image into maps of its posterior, such as a fitted posterior."""

    def maps(
        self, image: Tensor, *, samples: int, interval: float, seed: int, batched: bool | None
    ) -> dict[str, MetaTensor]:
        """Return named maps, each ``(channels, *spatial)``, with or without a leading batch axis of one.

        ``batched`` says whether the image has a batch axis.
        """


class PosteriorMaps(Transform):
    """Replace an image ``(channels, *spatial)`` by the maps of its posterior, stacked as channels.

    Args:
        posterior: object with ``maps(image, samples=…, interval=…, seed=…, batched=False)``.
        names: which maps, in this order; all that the posterior gives by default.
        samples: posterior samples per pixel.
        interval: probability inside the central interval whose width is mapped.
        seed: same seed, same maps.

    Raises:
        ValueError: if the posterior gives no map of a name asked for.
    """

    def __init__(
        self,
        *,
        posterior: PosteriorLike,
        names: Sequence[str] | None = None,
        samples: int = 200,
        interval: float = 0.95,
        seed: int = 0,
    ) -> None:
        if samples < 1:
            raise ValueError(f"samples = {samples}, expected at least 1.")
        if not 0 < interval < 1:
            raise ValueError(f"interval = {interval}, expected a probability between 0 and 1.")
        self.posterior, self.names = posterior, None if names is None else tuple(names)
        self.samples, self.interval, self.seed = samples, interval, seed

    def __call__(self, img: Tensor) -> MetaTensor:
        """Return all maps as one image ``(channels, *spatial)``, named in ``meta["channel_names"]``."""
        maps = self.maps(img)
        stacked = torch.cat([m.as_tensor().to(torch.float32) for m in maps.values()])
        names = tuple(f"{name}_{channel}" for name, m in maps.items() for channel in _channels(m))
        return MetaTensor(stacked, affine=next(iter(maps.values())).affine, meta={"channel_names": names})

    def maps(self, img: Tensor) -> dict[str, MetaTensor]:
        """Return the maps by name, each ``(channels, *spatial)`` in the geometry of the image."""
        image = as_image(img)
        found = self.posterior.maps(
            image, samples=self.samples, interval=self.interval, seed=self.seed, batched=False
        )
        missing = [name for name in self.names or () if name not in found]
        if missing:
            raise ValueError(f"the posterior gives no maps {missing}; it gives {', '.join(found)}.")
        return {name: _without_batch(found[name], image) for name in self.names or found}


class OutOfDistributionMask(PosteriorMaps):
    """Replace an image ``(channels, *spatial)`` by the pixels whose posterior must not be trusted.

    True are the pixels that the posterior flags as out of distribution and those that carry no usable
    spectrum: neither has an answer that may be read.

    Args:
        posterior: object whose ``maps`` include ``ood`` (1 where flagged, NaN where undecided) and may
            include ``valid``.
        samples: posterior samples per pixel; the verdict does not depend on them.
    """

    def __init__(self, *, posterior: PosteriorLike, samples: int = 16) -> None:
        super().__init__(posterior=posterior, samples=samples)

    def __call__(self, img: Tensor) -> MetaTensor:
        """Return the mask, boolean, shape ``(1, *spatial)``."""
        maps = self.maps(img)
        if "ood" not in maps:
            raise ValueError(f"the posterior gives no map 'ood'; it gives {', '.join(maps)}.")
        mask = ~(maps["ood"].as_tensor() <= 0.5)
        if "valid" in maps:
            mask |= ~maps["valid"].as_tensor().bool()
        return MetaTensor(mask, affine=maps["ood"].affine, meta={"channel_names": ("out_of_distribution",)})


class PosteriorMapsd(EachKey):
    """Add one key ``<key>_<map>`` for each posterior map of each image; see ``PosteriorMaps``."""

    array = PosteriorMaps

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the dictionary with the maps added, each ``(channels, *spatial)``."""
        result = dict(data)
        for key in self.key_iterator(data):
            result.update({f"{key}_{name}": value for name, value in self.transform.maps(data[key]).items()})
        return result


class OutOfDistributionMaskd(EachKey):
    """Add a key ``<key>_untrusted`` for each image; see ``OutOfDistributionMask``."""

    array = OutOfDistributionMask

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the dictionary with the masks added, boolean, each ``(1, *spatial)``."""
        result = dict(data)
        for key in self.key_iterator(data):
            result[f"{key}_untrusted"] = self.transform(data[key])
        return result


def _without_batch(value: MetaTensor, img: Tensor) -> MetaTensor:
    """A map as ``(channels, *spatial)`` in the geometry of the image."""
    plain, meta = torch.as_tensor(value), dict(getattr(value, "meta", {}))
    plain = plain.as_tensor() if isinstance(plain, MetaTensor) else plain
    if plain.ndim == img.ndim + 1 and plain.shape[0] == 1:
        plain = plain[0]
    if plain.shape[1:] != img.shape[1:]:
        raise ValueError(
            f"the posterior gave a map of shape {tuple(plain.shape)} for an image of shape "
            f"{tuple(img.shape)}; pass one image (channels, *spatial) at a time."
        )
    if isinstance(img, MetaTensor):
        meta["affine"] = img.affine
    return MetaTensor(plain, meta=meta)


def _channels(value: MetaTensor) -> tuple[str, ...]:
    """Names of a map's channels from its metadata, else numbers."""
    names = value.meta.get("channel_names")
    return tuple(map(str, names)) if names is not None else tuple(str(i) for i in range(len(value)))
