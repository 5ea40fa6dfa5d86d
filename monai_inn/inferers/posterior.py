"""From an image to maps of its posterior: pixel by pixel, streaming, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from monai.inferers.inferer import Inferer
from torch import Tensor

from monai_inn.inferers.levels import QuantileLevels
from monai_inn.inferers.summaries import shared_latents, stored_levels, summarise
from monai_inn.metrics.ood import ConformalThreshold, waic
from monai_inn.networks import PosteriorNetwork
from monai_inn.networks.chunks import on_all_threads
from monai_inn.problems import InverseProblem

__all__ = ["PosteriorInferer"]

_PIXELS = 1024  # pixels of one task; its samples stay in the cache between drawing and sorting


class PosteriorInferer(Inferer):
    """Maps of the posterior of every pixel, for images of any number of spatial axes.

    Pixels that cannot be inferred (NaN, all zero, negative, masked) are never guessed: they are NaN in every
    map and 0 in ``valid``.

    Args:
        problem: the inverse problem that the network was trained for.
        samples: posterior samples per pixel that the summaries are made from.
        interval: probability inside the reported central interval.
        below: thresholds for ``probability_below``, in physical units by parameter name.
        quantiles: number of equally likely quantiles to return beside the median and the interval's ends.
        false_alarm: share of in-distribution pixels that ``ood`` may flag.
        seed: seed of the latents that all pixels share.

    Raises:
        ValueError: for an interval or rate that is no probability, an unknown parameter in ``below``, or more
            quantiles than samples.
    """

    def __init__(
        self,
        problem: InverseProblem,
        *,
        samples: int = 64,
        interval: float = 0.95,
        below: Mapping[str, float] | None = None,
        quantiles: int = 0,
        false_alarm: float = 0.05,
        seed: int = 0,
    ) -> None:
        if not 0 < interval < 1:
            raise ValueError(f"interval = {interval} is not a probability; give e.g. 0.95.")
        if samples < 2:
            raise ValueError(f"samples = {samples}; a summary needs at least 2, and 64 for a 95 % interval.")
        if not 0 <= quantiles <= samples:
            raise ValueError(
                f"quantiles = {quantiles}; give a number from 0 to that of the samples, {samples}."
            )
        self.problem = problem
        self.space = problem.space.subset(problem.targets)
        for name, threshold in (below or {}).items():
            parameter = self.space.parameters[self.space.index(name)]
            if not parameter.low < threshold < parameter.high:
                raise ValueError(
                    f"below: {name} = {threshold:g} is outside its bounds; give a value between "
                    f"{parameter.low:g} and "
                    f"{parameter.high:g} (unit {parameter.unit})."
                )
        if not 0 < false_alarm < 1:
            raise ValueError(f"false_alarm = {false_alarm} is not a rate; give e.g. 0.05.")
        self.samples, self.interval, self.below = samples, interval, dict(below or {})
        self.levels = stored_levels(quantiles, interval)
        self.false_alarm, self.seed = false_alarm, seed

    def __call__(  # type: ignore[override]
        self, inputs: Tensor, network: PosteriorNetwork, *args: Any, **kwargs: Any
    ) -> dict[str, Tensor]:
        """Return the maps of an image ``(B, C, *spatial)``, each of shape ``(B, D or 1, *spatial)``.

        Keys: ``median``, ``mean``, ``interval_low``, ``interval_high``, ``interval_width``, ``mode_count``,
        ``probability_below`` (if thresholds were given), ``quantiles`` (if asked for, parameter by
        parameter), ``waic`` in nats, ``ood`` and ``valid`` (0 or 1).
        """
        maps: dict[str, Tensor] = {}
        for _, current in self.stream(inputs, network):
            maps = current
        return maps

    def preview(self, inputs: Tensor, network: PosteriorNetwork) -> dict[str, Tensor]:
        """Return quick maps from one pass per pixel.

        Keys: ``median``, ``interval_low``, ``interval_high`` and ``interval_width`` of the interval between
        the preview head's outermost quantiles (95 %), ``quantiles`` at all its levels, parameter by
        parameter, and ``valid``.
        """
        rows, valid, shape = self._rows(inputs)

        def task(pixels: Tensor) -> Tensor:
            with torch.no_grad():
                latent = network.preview_quantiles(self.problem.features(rows[pixels]))
                return self.space.inverse(latent.movedim(-1, 0)).permute(1, 2, 0)

        levels = 0 if network.preview is None else len(network.preview.levels)
        stack = torch.cat(
            [
                rows.new_empty(0, len(self.space), levels),
                *on_all_threads(task, _tasks(valid, 8 * _PIXELS), rows.device),
            ]
        )
        low, median, high = stack[..., 0], stack[..., levels // 2], stack[..., -1]
        columns = {
            "median": median,
            "interval_low": low,
            "interval_high": high,
            "interval_width": high - low,
            "quantiles": stack.flatten(1),
        }
        maps = {name: _blank(valid, values) for name, values in columns.items()}
        return self._images(maps | {"valid": valid.float().unsqueeze(1)}, shape)

    def stream(self, inputs: Tensor, network: PosteriorNetwork) -> Iterator[tuple[float, dict[str, Tensor]]]:
        """Yield ``(share done, maps)``: first the preview, then maps whose pixels are filled in as they come.

        The maps of the last item are complete. All items but the first share their memory.
        """
        yield 0.0, self.preview(inputs, network)
        rows, valid, shape = self._rows(inputs)
        guard = ConformalThreshold(network.ood_scores)
        latents = shared_latents(self.samples, len(self.space), self.seed).to(rows.device)
        levels = QuantileLevels.of(network)

        def summarise_rows(observation: Tensor) -> dict[str, Tensor]:
            with torch.no_grad():
                features = self.problem.features(observation)
                samples = network.posterior(features).leading(len(self.space)).push(latents)
                maps = summarise(samples, self.space, self.interval, self.below, levels, self.levels)
                score = self._score(self.problem.density_features(observation), network)
                return maps | {"waic": score, "ood": guard.is_out(score, self.false_alarm).float()}

        tasks = _tasks(valid, _PIXELS)
        # A made-up pixel tells the names and sizes of the maps even of an image without a valid one.
        maps = {
            name: rows.new_full((len(rows), value.shape[1]), torch.nan)
            for name, value in summarise_rows(rows.new_ones(1, rows.shape[1])).items()
        }
        maps["valid"] = valid.float().unsqueeze(1)
        done = 0
        for pixels, result in zip(
            tasks, on_all_threads(lambda t: summarise_rows(rows[t]), tasks, rows.device), strict=True
        ):
            for name, value in result.items():
                maps[name][pixels] = value
            done += len(pixels)
            yield done / int(valid.sum()), self._images(maps, shape)
        if not tasks:
            yield 1.0, self._images(maps, shape)

    def trust(self, inputs: Tensor, network: PosteriorNetwork) -> dict[str, Tensor]:
        """Return ``waic``, ``ood``, conformal ``p_value`` and ``valid`` of an image ``(B, C, *spatial)``."""
        rows, valid, shape = self._rows(inputs)
        guard = ConformalThreshold(network.ood_scores)

        def task(pixels: Tensor) -> Tensor:
            return self._score(self.problem.density_features(rows[pixels]), network)

        tasks = _tasks(valid, 8 * _PIXELS)
        scores = torch.cat([*on_all_threads(task, tasks, rows.device), rows.new_empty(0, 1)])
        maps = {
            "waic": scores,
            "ood": guard.is_out(scores, self.false_alarm).float(),
            "p_value": guard.p_value(scores),
        }
        columns = {name: _blank(valid, value) for name, value in maps.items()}
        return self._images(columns | {"valid": valid.float().unsqueeze(1)}, shape)

    def draw(self, inputs: Tensor, network: PosteriorNetwork, samples: int) -> Iterator[Tensor]:
        """Yield coherent posterior samples one by one, each ``(B, D, *spatial)`` in physical units."""
        rows, valid, shape = self._rows(inputs)
        latents = shared_latents(samples, len(self.space), self.seed).to(rows.device)
        with torch.no_grad():
            q = network.posterior(self.problem.features(rows[valid])).leading(len(self.space))
            for latent in latents:
                column = rows.new_full((len(rows), len(self.space)), torch.nan)
                if bool(valid.any()):
                    column[valid] = self.space.inverse(q.push(latent[None])[0])
                yield self._images({"sample": column}, shape)["sample"]

    @staticmethod
    @torch.no_grad()
    def _score(features: Tensor, network: PosteriorNetwork) -> Tensor:
        """WAIC of density features ``(n, K)``, shape ``(n, 1)``."""
        # A density that overflows is as low as can be: such a pixel is out of distribution.
        log_prob = network.observation_log_prob(features).nan_to_num(nan=-torch.inf, neginf=-torch.inf)
        return waic(log_prob).unsqueeze(1)

    def _rows(self, inputs: Tensor) -> tuple[Tensor, Tensor, tuple[int, ...]]:
        """Pixels as rows ``(N, C)``, which of them are valid, and the image's shape without channels."""
        channels = len(self.problem.observation_names)
        if inputs.ndim < 2 or inputs.shape[1] != channels:
            raise ValueError(
                f"image has shape {tuple(inputs.shape)}, expected (batch, {channels} bands, *spatial) for "
                f"{self.problem!r}; pass an image of that camera, or fit a bundle for yours."
            )
        image = torch.as_tensor(inputs).as_subclass(Tensor).float().movedim(1, -1)
        rows = image.reshape(-1, channels)
        return rows, self.problem.is_valid(rows), tuple(image.shape[:-1])

    @staticmethod
    def _images(columns: dict[str, Tensor], shape: tuple[int, ...]) -> dict[str, Tensor]:
        """``(N, K)`` columns back to ``(B, K, *spatial)``."""
        return {name: value.reshape(*shape, value.shape[1]).movedim(-1, 1) for name, value in columns.items()}


def _tasks(valid: Tensor, size: int) -> list[Tensor]:
    """Indices of the valid pixels in pieces, none of them empty."""
    return [piece for piece in torch.nonzero(valid).squeeze(1).split(size) if len(piece)]


def _blank(valid: Tensor, values: Tensor) -> Tensor:
    """Values of the valid rows, NaN for the others."""
    column = values.new_full((len(valid), values.shape[1]), torch.nan)
    column[valid] = values
    return column
