"""The linear-Gaussian posterior of stationary images in closed form: where an image flow starts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from monai_inn.networks.images.factors import LEAST_SHARE, factorised
from monai_inn.networks.images.levels import Level
from monai_inn.networks.images.moments import SPECTRUM_ROWS, ClassMeans, Moments
from monai_inn.networks.kernels.chunks import is_traced

__all__ = ["GaussianStart"]

_ROUNDING = 1e-12  # of a mean square in double precision, amply
# Standard error that the means may leave in the log odds of two classes. A probability changes by at most a
# quarter of a change of its log odds: it is then off by .005, and by .02 once in 16,000 observations.
_STANDARD_ERROR = 0.02


class GaussianStart(nn.Module):
    """Gaussian posterior of images given images, its mean and covariance the same at every place.

    The mean is a linear filter of the observation, the covariance one matrix of channels for each frequency;
    both are the least-squares estimates of pairs of images, as ``fit`` adds them up. Borders go on at the
    opposite side. Given a class, means are those of the class.

    The covariance is factorised from coarse to fine. Of each Haar level the details are Gaussian given the
    coarse image, so that the first levels alone give the exact density of the coarse image.

    Args:
        in_channels: channels ``C`` of the unknown images.
        condition_channels: channels ``F`` of the observed images.
        size: spatial size of both.
        levels: Haar levels.
        classes: number of classes; 0 for none.

    Source: Wiener, Extrapolation, Interpolation, and Smoothing of Stationary Time Series, 1949.
    """

    spectrum: Tensor
    filter: Tensor
    mean: Tensor

    def __init__(
        self, in_channels: int, condition_channels: int, size: Sequence[int], levels: int, classes: int = 0
    ) -> None:
        super().__init__()
        self.size, self.levels = tuple(size), levels
        self.channels, self.condition_channels = in_channels, condition_channels
        unit = torch.eye(in_channels).view(in_channels, in_channels, *[1] * len(size), 1)
        spectrum = unit * torch.tensor([1.0, 0.0]) * torch.ones(*size, 1)
        # Real and imaginary part on the last axis, as files of weights hold no complex numbers.
        self.register_buffer("spectrum", spectrum)
        self.register_buffer("filter", torch.zeros(in_channels, condition_channels, *_half(size), 2))
        self.register_buffer("mean", torch.zeros(max(classes, 1), in_channels, *size))
        self._kept: tuple[tuple[object, ...], list[Level]] | None = None

    @property
    def seen_channels(self) -> int:
        """Channels of what ``seen`` returns."""
        return self.condition_channels

    def seen(self, observation: Tensor) -> Tensor:
        """Return what couplings see of an observation beside its mean: the observation."""
        return observation

    def of(self, observation: Tensor, label: Tensor | None = None) -> Tensor:
        """Return the posterior mean ``(N, C, *size)`` of observations ``(N, F, *size)``.

        Args:
            observation: observed images.
            label: class of each, ``(N,)``; left out, the part of the mean that is no class's is returned.
        """
        axes = self._axes
        seen = torch.fft.rfftn(observation, dim=axes, norm="ortho")
        filtered = torch.einsum("cf...,nf...->nc...", torch.view_as_complex(self.filter), seen)
        made = torch.fft.irfftn(filtered, s=self.size, dim=axes, norm="ortho")
        return made if label is None else made + self.mean[label]

    @torch.no_grad()
    def fit(self, pairs: Iterable[tuple[Tensor, Tensor, Tensor | None]]) -> ClassMeans:
        """Set the posterior to the least-squares estimate of pairs of images.

        Classes must be told apart, so that pairs are taken until the log odds are known well enough; without
        classes all are.

        Args:
            pairs: batches of unknown images ``(N, C, *size)``, observed ones ``(N, F, *size)`` and their
                classes ``(N,)`` or ``None``.

        Returns:
            What tells the classes apart.
        """
        moments = Moments(
            len(self.mean), self.channels + self.condition_channels, self.size, self.mean.device
        )
        found, due = None, SPECTRUM_ROWS
        for image, observation, label in pairs:
            moments.add(torch.cat([image, observation], 1), label)
            if len(self.mean) > 1 and moments.rows >= due:
                before, found, due = found, self._set(moments), 2 * moments.rows
                # From n images to 2 n, log odds change by as much as those of 2 n are still off.
                if before is not None and found.distance(before, observation) <= _STANDARD_ERROR:
                    return found
        return self._set(moments)

    def _set(self, moments: Moments) -> ClassMeans:
        """Set the posterior to what moments tell."""
        mean, within = moments.estimates()
        c = self.channels
        half = (..., slice(self.size[-1] // 2 + 1))
        # The last two axes are those of channels while matrices are solved.
        matrix = within.movedim((0, 1), (-2, -1))
        seen = matrix[..., c:, c:]
        power = seen.diagonal(dim1=-2, dim2=-1).real.mean()
        # The rounding errors of channels that are constant, and channels of zeros, must not become a filter.
        rounding = _ROUNDING * mean[:, c:].square().mean()
        ridge = (LEAST_SHARE * power + rounding).clamp_min(1e-100)
        seen = seen + ridge * torch.eye(seen.shape[-1], dtype=power.dtype, device=seen.device)
        gain = torch.linalg.solve(seen, matrix[..., c:, :c]).mH
        left = matrix[..., :c, :c] - gain @ matrix[..., c:, :c]
        spectrum = ((left + left.mH) / 2).movedim((-2, -1), (0, 1))
        ordered = gain.movedim((-2, -1), (0, 1))[half].contiguous()
        self.spectrum.copy_(torch.view_as_real(spectrum.contiguous()))
        self.filter.copy_(torch.view_as_real(ordered))
        observed = mean[:, c:]
        axes = self._axes
        seen_mean = torch.fft.rfftn(observed, dim=axes, norm="ortho")
        filtered = torch.einsum("cf...,nf...->nc...", ordered.to(seen_mean.dtype), seen_mean)
        self.mean.copy_(mean[:, :c] - torch.fft.irfftn(filtered, s=self.size, dim=axes, norm="ortho"))
        apart = torch.fft.fftn(observed - observed.mean(0), dim=axes, norm="ortho")
        weighted = torch.linalg.solve(seen, apart.movedim(1, -1).unsqueeze(-1)).squeeze(-1).movedim(-1, 1)
        template = torch.fft.ifftn(weighted, dim=axes, norm="ortho").real
        bias = moments.log_shares() - 0.5 * (template * (observed + observed.mean(0))).flatten(1).sum(1)
        return ClassMeans(template.float(), bias.float())

    def levels_of(self, observation: Tensor) -> list[Level]:
        """Return the Haar levels of the covariance, finest first; they are those of any observation."""
        state = (self.spectrum._version, self.spectrum.dtype, self.spectrum.device, self.spectrum.data_ptr())
        if self._kept is None or self._kept[0] != state:
            found = factorised(torch.view_as_complex(self.spectrum).unsqueeze(0), self.levels)
            if is_traced():  # a second recording must find the same operations
                return found
            self._kept = state, found
        return self._kept[1]

    @torch.no_grad()
    def resized(self, size: Sequence[int]) -> GaussianStart:
        """Return the posterior of images of another size, of the same pixels.

        The spectrum is interpolated between its frequencies, which keeps each matrix a covariance. The filter
        keeps its impulse response, the mean image becomes its average.

        Raises:
            ValueError: if there are classes, whose mean images are of one size.
        """
        if len(self.mean) > 1:
            raise ValueError("mean images of classes are of one size; fit a flow for the other one.")
        made = GaussianStart(self.channels, self.condition_channels, size, self.levels).to(self.mean)
        spectrum = torch.view_as_complex(self.spectrum)
        response = torch.fft.irfftn(torch.view_as_complex(self.filter), s=self.size, dim=self._axes)
        for axis, (old, new) in zip(self._axes, zip(self.size, made.size, strict=True), strict=True):
            spectrum, response = _interpolated(spectrum, axis, new), _padded(response, axis, old, new)
        made.spectrum.copy_(torch.view_as_real(spectrum))
        made.filter.copy_(torch.view_as_real(torch.fft.rfftn(response, dim=self._axes)))
        made.mean.copy_(self.mean.mean(self._axes, keepdim=True).expand_as(made.mean))
        return made

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(-len(self.size), 0))


def _interpolated(spectrum: Tensor, axis: int, size: int) -> Tensor:
    """A spectrum at ``size`` frequencies of an axis, by lines between neighbours."""
    old = spectrum.shape[axis]
    place = torch.arange(size, device=spectrum.device, dtype=torch.float64) * old / size
    first = place.long()
    share = (place - first).to(spectrum.real.dtype).view(-1, *[1] * (-1 - axis))
    before, after = spectrum.index_select(axis, first), spectrum.index_select(axis, (first + 1) % old)
    return (1 - share) * before + share * after


def _padded(response: Tensor, axis: int, old: int, new: int) -> Tensor:
    """An impulse response of ``new`` places along an axis, its origin first: padded with zeros or cut."""
    least = min(old, new)
    near = response.roll(least // 2, axis).narrow(axis, 0, least)
    rest = list(response.shape)
    rest[axis] = new - least
    return torch.cat([near, response.new_zeros(rest)], axis).roll(-(least // 2), axis)


def _half(size: Sequence[int]) -> tuple[int, ...]:
    return (*size[:-1], size[-1] // 2 + 1)
