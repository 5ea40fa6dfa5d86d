"""Images over time, or over any other setting, as networks of series take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.data.meta_tensor import MetaTensor
from monai.transforms.transform import Transform
from monai.utils.enums import TransformBackends
from torch import Tensor

from monai_inn.transforms.images import as_image, metadata, plain_tensor

if TYPE_CHECKING:
    from monai_inn.problems import Observation

__all__ = ["MatchSeries"]


class MatchSeries(Transform):
    """Turn an image of one channel an entry into channels as a network of series takes them.

    The image holds the first value of each entry. Further values, which are the same for all pixels, and
    settings such as times come from ``meta["settings"]``: lists of one number an entry by name, which
    ``read_multispectral`` finds in ``<name>.json`` beside the image. An image that has these channels already
    stays as it is.

    Args:
        observation: description of a series, ``Observation.series``.
        advice: what else to do if a list is missing, for the message.

    Raises:
        ValueError: if a list is missing or has another length, there are too many entries, or the axis of the
            entries could as well be the last.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __init__(self, *, observation: Observation, advice: str = "") -> None:
        self.observation, self.advice = observation, advice

    def __call__(self, img: NdarrayOrTensor) -> Tensor:
        """Return the image ``(C, *spatial)`` of an image ``(entries, *spatial)``."""
        image = as_image(img)
        given: Mapping[str, tuple[float, ...]] = metadata(image).get("settings", {})
        needed = self.observation.settings
        if len(image) == len(self.observation) and not set(needed) & set(given):
            return image
        self._check(image, given, needed)
        plain, most = plain_tensor(image), self.observation.places
        number, spatial = len(plain), plain.shape[1:]
        values = plain.new_full((most, len(self.observation.names), *spatial), torch.nan)
        context = plain.new_full((most, len(self.observation.context), *spatial), torch.nan)
        values[:number, 0] = plain
        columns = [values[:, 1 + i] for i in range(values.shape[1] - 1)] + list(context.unbind(1))
        for name, column in zip(needed, columns, strict=True):
            column[:number] = plain.new_tensor(given[name]).reshape(-1, *[1] * len(spatial))
        whole = torch.cat([values.flatten(0, 1), context.flatten(0, 1)])
        if not isinstance(image, MetaTensor):
            return whole
        meta = {key: value for key, value in image.meta.items() if key not in ("settings", "band_names")}
        return MetaTensor(whole, meta=meta)

    def _check(self, image: Tensor, given: Mapping[str, tuple[float, ...]], needed: tuple[str, ...]) -> None:
        entries, most = len(image), self.observation.places
        for name in needed:
            if name not in given:
                others = f" (it has {', '.join(map(repr, given))})" if given else ""
                raise ValueError(
                    f"image of {entries} channels without {name!r}{others}; give one number a channel as a "
                    f'list {{"{name}": […]}} in a JSON file of the same name beside the image{self.advice}.'
                )
            if len(given[name]) != entries:
                last = "; move that axis to the front" if len(given[name]) == image.shape[-1] else ""
                raise ValueError(
                    f"image of {entries} channels, but {len(given[name])} entries of {name!r}; expected one "
                    f"a channel{last}."
                )
        if entries == image.shape[-1] and not metadata(image).get("names_channels", True):
            raise ValueError(
                f"image of shape {tuple(image.shape)}: its first and its last axis have {entries} entries, "
                "and the format does not say which is that of the series; save it as NIfTI, or crop the last."
            )
        if entries > most:
            raise ValueError(
                f"image of {entries} channels, but the network takes {most} at most; leave some out, or take "
                "means of neighbouring ones and of their settings."
            )
