"""From an image to maps of its posterior: pixel by pixel, streaming, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from monai.inferers.inferer import Inferer
from torch import Tensor

from monai_inn.inferers.curves import Curves
from monai_inn.inferers.derived import DerivedSummaries, side_by_side
from monai_inn.inferers.levels import QuantileLevels
from monai_inn.inferers.likelihood.reweighting import Reweighting
from monai_inn.inferers.pixels import Pixels
from monai_inn.inferers.predicted import FEW, MANY, drawn_or_predicted
from monai_inn.inferers.summaries import shared_latents, stored_levels, summarise
from monai_inn.inferers.trust.adequacy import Adequacy
from monai_inn.inferers.trust.verdicts import UNINFORMATIVE, Explained, PriorMass
from monai_inn.networks import PosteriorNetwork
from monai_inn.networks.kernels.chunks import full_precision, on_all_threads
from monai_inn.problems import InverseProblem, ParameterSpace

__all__ = ["PosteriorInferer"]

# Pixels of one task. A flow is prepared anew for each task, and each call from Python takes its lock: larger
# tasks leave less of both.
_PIXELS = 8192
_GPU_PIXELS = 65536
# Of one task that simulates, too. Each has noise of its own, so that they must not depend on the threads.
_SIMULATED_PIXELS = 1024
_WEIGHED_PIXELS = 64  # a second or two
_FEW_PIXELS = 100  # a region, of which Monte Carlo may answer each pixel in ten seconds or more
_WEIGHED = "weighed"  # not a map: samples of all parameters, which a test of the model simulates again

Answer = Callable[[Tensor], dict[str, Tensor]]  # rows of observations (n, C) to columns (n, K) by name


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
        adequacy: simulations per pixel behind ``adequacy``; none, and no such map, by default.
        adaptive: whether fewer samples are drawn where a fourth or a half of them suffices, if the network
            has a preview head, see ``drawn_or_predicted``.
        keep: samples to return beside the maps, no more than are drawn everywhere.
        reweight: whether the posterior of each pixel comes from the likelihood, see ``Reweighting``; neither
            adaptive nor with samples to keep, which would not be coherent.
        seed: seed of the latents that all pixels share.

    Raises:
        ValueError: for an interval or rate that is not a probability, an unknown parameter in ``below``, more
            quantiles than samples, or an adequacy that the problem cannot tell.
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
        adequacy: int = 0,
        adaptive: bool = False,
        keep: int = 0,
        reweight: bool = False,
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
        if not 0 <= keep <= (samples // FEW if adaptive else samples):
            raise ValueError(
                f"keep = {keep} of {samples} samples; give at most as many as are drawn everywhere: all of "
                "them, or a fourth if the samples are adaptive."
            )
        if reweight and (adaptive or keep):
            raise ValueError(
                "reweighted samples are neither adaptive nor coherent over pixels; leave out reweight, or "
                "adaptive and the samples to keep (save_samples)."
            )
        self.problem, self.reweight = problem, reweight
        self.space, shown = problem.space.subset(problem.targets), ParameterSpace(problem.shown)
        for name, threshold in (below or {}).items():
            parameter = shown.parameters[shown.index(name)]
            if not parameter.low < threshold < parameter.high:
                raise ValueError(
                    f"below: {name} = {threshold:g} is outside its bounds; give a value between "
                    f"{parameter.low:g} and "
                    f"{parameter.high:g} (unit {parameter.unit})."
                )
        if not 0 < false_alarm < 1:
            raise ValueError(f"false_alarm = {false_alarm} is not a rate; give e.g. 0.05.")
        self.samples, self.interval = samples, interval
        # Thresholds of derived quantities stand behind those of targets, as their other channels do.
        self.below = dict(sorted((below or {}).items(), key=lambda entry: entry[0] not in self.space.names))
        self.levels = stored_levels(quantiles, interval)
        self.false_alarm, self.adequacy, self.seed = false_alarm, adequacy, seed
        self.adaptive, self.keep = adaptive, keep

    def __call__(  # type: ignore[override]
        self, inputs: Tensor, network: PosteriorNetwork, *args: Any, **kwargs: Any
    ) -> dict[str, Tensor]:
        """Return the maps of an image ``(B, C, *spatial)``, each of shape ``(B, D or 1, *spatial)``.

        Keys: ``median``, ``mean``, ``interval_low``, ``interval_high``, ``interval_width``, ``mode_count``,
        ``probability_below`` (if thresholds were given), ``quantiles`` (if asked for, parameter by
        parameter), ``samples`` (if some are kept, likewise), ``uninformative`` (1 where the interval is
        hardly narrower than the prior's), ``waic`` in nats, ``ood`` (1 where the observation is not
        explained), its ``p_value``, the number of its ``reason``, ``adequacy`` (if asked for, the p-value of
        ``Adequacy``), ``efficiency`` (with ``reweight`` the share of the draws that count, 0 where too few do
        and the posterior is the network's), and ``valid`` (0 or 1). Channels of parameters are the targets,
        then the derived quantities of the problem.
        """
        return _complete(self.stream(inputs, network))

    def stream(
        self, inputs: Tensor, network: PosteriorNetwork, curves: Curves | None = None
    ) -> Iterator[tuple[float, dict[str, Tensor]]]:
        """Yield ``(share done, maps)``, maps whose pixels are filled in as they come.

        The first share is 0, the last 1, and the maps of the last item are complete. All share their memory.
        With ``adequacy``, ``curves`` takes the curves of the pixels from the same simulations.
        """
        is_adaptive = self.adaptive and network.preview is not None
        number = self.samples * (MANY if is_adaptive else 1)
        latents = shared_latents(number, len(self.space), self.seed)
        explained = Explained(self.problem, network, self.false_alarm)
        levels = QuantileLevels.of(network)
        below = {name: value for name, value in self.below.items() if name in self.space.names}
        derived = None
        if self.problem.derived:
            derived = DerivedSummaries(self.problem, self.interval, self.below, self.levels)
        adequacy = None
        if self.adequacy:
            adequacy = Adequacy(self.problem, network, self.adequacy, self.seed, curves)

        prior_mass = PriorMass(self.problem)
        reweighting, pixels = None, Pixels(inputs, self.problem)
        if self.reweight:
            has_time = int(pixels.valid.sum()) <= _FEW_PIXELS
            reweighting = Reweighting(self.problem, network, self.samples, self.seed, has_time)
            for piece in pixels.pieces(_PIXELS):
                reweighting.nuisances.prepare(pixels.rows(piece))

        def summary(samples: Tensor, levels: QuantileLevels | None = levels) -> dict[str, Tensor]:
            maps = summarise(samples, self.space, self.interval, below, levels, self.levels)
            known = prior_mass(maps["interval_low"], maps["interval_high"])
            maps["uninformative"] = (known >= UNINFORMATIVE * self.interval).float()
            maps = maps if derived is None else side_by_side(maps, derived(samples))
            if self.keep:
                targets = self.space.inverse(samples[: self.keep])
                kept = torch.cat([targets, self.problem.derive(targets)], -1)
                maps["samples"] = kept.permute(1, 2, 0).flatten(1)
            return maps

        def reweighted(observation: Tensor, features: Tensor) -> dict[str, Tensor]:
            assert reweighting is not None
            samples, share = reweighting(observation, features)
            exact, other = (share > 0).nonzero().squeeze(1), (share == 0).nonzero().squeeze(1)
            parts = []
            if len(exact):  # recalibrated levels are for the network's own posteriors
                parts.append((exact, summary(samples[:, exact, : len(self.space)], None)))
            if len(other):
                q = network.posterior(features[other]).leading(len(self.space))
                parts.append((other, summary(q.push(latents.to(features)))))
            return _joined(parts) | {"efficiency": share.unsqueeze(1), _WEIGHED: samples}

        def summarise_rows(observation: Tensor) -> dict[str, Tensor]:
            features = self.problem.features(observation)
            if reweighting is not None:
                maps = reweighted(observation, features)
            elif is_adaptive:
                parts = _adapted(network, features, latents.to(features))
                maps = _joined([(pixels, summary(samples)) for pixels, samples in parts])
            else:
                q = network.posterior(features).leading(len(self.space))
                maps = summary(q.push(latents.to(features)))
            return maps | explained(observation)

        yield from self._fill(pixels, summarise_rows, adequacy, _WEIGHED_PIXELS if self.reweight else None)

    def preview(
        self, inputs: Tensor, network: PosteriorNetwork, most: int | None = None
    ) -> dict[str, Tensor]:
        """Return quick maps from one pass per pixel, or per block of pixels if there are more than ``most``.

        Keys: ``median``, ``interval_low``, ``interval_high`` and ``interval_width`` of the interval between
        the preview head's outermost quantiles (95 %), ``quantiles`` at all its levels, parameter by
        parameter, and ``valid``. Derived quantities are left out: they need joint samples.
        """

        def quick(observation: Tensor) -> dict[str, Tensor]:
            latent = network.preview_quantiles(self.problem.features(observation))
            values = self.space.inverse(latent.movedim(-1, 0))
            low, median, high = values[0], values[len(values) // 2], values[-1]
            ends = {"median": median, "interval_low": low, "interval_high": high}
            return ends | {"interval_width": high - low, "quantiles": values.permute(1, 2, 0).flatten(1)}

        return self._at_once(inputs, quick, most)

    def trust(self, inputs: Tensor, network: PosteriorNetwork, most: int | None = None) -> dict[str, Tensor]:
        """Return ``waic``, ``ood``, ``p_value``, ``reason``, ``valid`` of an image ``(B, C, *spatial)``.

        With ``most``, pixels of a block share what one of them is told.
        """
        return self._at_once(inputs, Explained(self.problem, network, self.false_alarm), most)

    @torch.no_grad()  # as a decorator, which gives the caller its mode back between the samples
    def draw(self, inputs: Tensor, network: PosteriorNetwork, samples: int) -> Iterator[Tensor]:
        """Yield coherent posterior samples one by one, each ``(B, D, *spatial)`` in physical units.

        Derived quantities stand behind the targets.
        """
        pixels = Pixels(inputs, self.problem)
        latents = shared_latents(samples, len(self.space), self.seed).to(pixels.valid.device)
        parts = []
        for piece in pixels.pieces(_GPU_PIXELS):
            with full_precision(piece.device):
                features = self.problem.features(pixels.rows(piece))
            parts.append((piece, network.posterior(features).leading(len(self.space))))
        for latent in latents:
            column = pixels.blank(len(self.problem.shown))
            for piece, q in parts:
                targets = self.space.inverse(q.push(latent[None])[0])
                column.index_copy_(0, piece, torch.cat([targets, self.problem.derive(targets)], -1))
            yield pixels.image(column)

    def _at_once(self, inputs: Tensor, answer: Answer, most: int | None) -> dict[str, Tensor]:
        """Maps of what one pass tells of each pixel, or of some that stand for their neighbours."""
        pixels = Pixels(inputs, self.problem)
        stand_ins = None if most is None else pixels.stand_ins(most)
        return _complete(self._fill(pixels, answer, stand_ins=stand_ins))

    def _fill(
        self,
        pixels: Pixels,
        answer: Answer,
        adequacy: Adequacy | None = None,
        size: int | None = None,
        stand_ins: Tensor | None = None,
    ) -> Iterator[tuple[float, dict[str, Tensor]]]:
        """Yield ``(share done, maps)`` of what ``answer`` gives for rows of observations, and ``valid``."""
        device = pixels.valid.device
        usual, threads = (_PIXELS, torch.get_num_threads()) if device.type == "cpu" else (_GPU_PIXELS, 1)
        size = size or (usual if adequacy is None else _SIMULATED_PIXELS)
        pieces = pixels.pieces(size, threads if adequacy is None else 1, stand_ins)

        def solve(observation: Tensor) -> dict[str, Tensor]:
            with torch.no_grad():
                return _maps_alone(answer(observation))

        def task(index: Tensor) -> dict[str, Tensor]:
            rows = pixels.rows(index)
            with torch.no_grad():
                found = answer(rows)
                checked = {} if adequacy is None else adequacy(rows, index, found.get(_WEIGHED))
                return _maps_alone(found) | checked

        # A made-up pixel tells the names and sizes of the maps even of an image without a valid one.
        made_up = torch.ones(1, len(self.problem.observation), dtype=torch.float32, device=device)
        like = next(on_all_threads(solve, [made_up], device))
        columns = {name: pixels.blank(value.shape[1]) for name, value in like.items()}
        if adequacy is not None:  # nobody may be asked to simulate a made-up pixel
            columns["adequacy"] = pixels.blank(1)
        maps = {name: pixels.image(value) for name, value in columns.items()} | {"valid": pixels.mask}
        yield 0.0, maps
        for done, (index, result) in enumerate(
            zip(pieces, on_all_threads(task, pieces, device), strict=True), start=1
        ):
            for name, value in result.items():
                # Assigning to an index takes milliseconds where this takes microseconds.
                columns[name].index_copy_(0, index, value.to(columns[name]))
            yield done / len(pieces), maps
        if stand_ins is not None:
            for column in columns.values():
                column[pixels.valid] = column[stand_ins[pixels.valid]]
        if not pieces or stand_ins is not None:
            yield 1.0, maps


def _adapted(network: PosteriorNetwork, features: Tensor, latents: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Numbers of pixels ``(n,)`` and as many samples ``(S, n, D)`` in the flow's space as these need."""
    condition = network.condition(features)

    def draw(pixels: Tensor, some: Tensor) -> Tensor:
        return network.given(condition[pixels]).leading(latents.shape[-1]).push(some)

    assert network.preview is not None
    levels = network.preview.levels.tolist()
    return drawn_or_predicted(draw, latents, network.quick_given(condition), levels)


def _joined(parts: list[tuple[Tensor, dict[str, Tensor]]]) -> dict[str, Tensor]:
    """The columns of pixels that come in parts with their numbers, in the order of these."""
    order = torch.cat([pixels for pixels, _ in parts]).argsort()
    return {name: torch.cat([maps[name] for _, maps in parts])[order] for name in parts[0][1]}


def _maps_alone(found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in found.items() if name != _WEIGHED}


def _complete(stream: Iterator[tuple[float, dict[str, Tensor]]]) -> dict[str, Tensor]:
    """The maps of a stream once all pixels are filled in."""
    maps: dict[str, Tensor] = {}
    for _, current in stream:
        maps = current
    return maps
