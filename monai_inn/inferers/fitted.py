"""What ``fit`` returns and a bundle holds: a problem with its trained network."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from scipy.stats import chi
from torch import Tensor

from monai_inn.inferers.card_warnings import card_warnings
from monai_inn.inferers.circles import Circles
from monai_inn.inferers.verdicts import Explained, misfit_scores, reasons
from monai_inn.metrics.classes import ClassSets
from monai_inn.metrics.ood import ConformalThreshold, waic
from monai_inn.networks import ParameterPosterior, PosteriorNetwork
from monai_inn.networks.device import device_of
from monai_inn.networks.kernels.chunks import full_precision
from monai_inn.problems import InverseProblem

if TYPE_CHECKING:
    from monai.data.meta_tensor import MetaTensor

    from monai_inn.inferers.curves import Curves
    from monai_inn.inferers.posterior import PosteriorInferer

__all__ = ["FittedPosterior"]


class FittedPosterior:
    """A trained posterior: ask it for distributions, maps of images, and whether to trust them.

    Args:
        problem: the inverse problem.
        network: its trained network.
        card: what was measured at the end of training, JSON-ready; becomes the bundle's model card.
    """

    def __init__(self, problem: InverseProblem, network: PosteriorNetwork, card: Mapping[str, Any]) -> None:
        self.problem, self.network, self.card = problem, network.eval(), dict(card)

    def __repr__(self) -> str:
        weights = sum(p.numel() for p in self.network.parameters())
        return f"FittedPosterior({self.problem!r}, {weights:,} weights)"

    def to(self, device: str | torch.device) -> FittedPosterior:
        """Move the network to a device, see ``device_of``.

        Raises:
            ValueError: if there is no such device.
            RuntimeError: if a CUDA device is asked for and there is none.
        """
        self.network.to(device_of(device))
        return self

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return self.network.ood_scores.device

    @property
    def warnings(self) -> list[str]:
        """What must be said wherever answers of this network are shown, see ``card_warnings``."""
        shown = self.problem.shown[: len(self.problem.targets)]
        return card_warnings(self.card, dict.fromkeys(p.whole for p in shown))

    @property
    def guard(self) -> ConformalThreshold:
        """Thresholds on WAIC with known false-alarm rates."""
        return ConformalThreshold(self.network.ood_scores)

    def posterior(self, observation: Tensor) -> ParameterPosterior:
        """Return the joint posterior of all parameters for observations ``(*batch, C)``, physical units.

        Here and below observations are tensors, arrays of NumPy or lists.

        Raises:
            ValueError: if the last axis is not that of the channels.
        """
        base = self.network.posterior(self._features(observation))
        return ParameterPosterior(base, self.problem.space)

    def target_posterior(self, observation: Tensor) -> ParameterPosterior:
        """Return the exact marginal posterior of ``problem.targets``, much faster than the joint one."""
        targets = self.problem.targets
        base = self.network.posterior(self._features(observation)).leading(len(targets))
        return ParameterPosterior(base, self.problem.space.subset(targets))

    @property
    def tells_class(self) -> bool:
        """Whether the one unknown is a class."""
        return len(self.problem.parameters) == 1 and bool(self.problem.parameters[0].categories)

    @torch.no_grad()
    def class_probability(self, observation: Tensor) -> Tensor:
        """Return the probability of each class, ``(*batch, K)``, given observations ``(*batch, C)``.

        Raises:
            ValueError: if what is unknown is not one class.
        """
        if not self.tells_class:
            raise ValueError(f"the problem {self.problem.name!r} has other unknowns than one class.")
        part = self.network.classifier
        if part is not None:  # in all its digits, as of the held-out ones that sets are made from
            condition = self.network.condition(self._features(observation))
            rows = part.density.logits(condition.reshape(-1, condition.shape[-1])).softmax(-1)
            return rows.reshape(*condition.shape[:-1], -1)
        q = self.posterior(observation)
        middle = torch.arange(len(self.problem.parameters[0].categories), device=self.device) + 0.5
        values = middle.view(-1, *[1] * len(q.batch_shape), 1)
        return q.log_prob(values).movedim(0, -1).softmax(-1)

    @property
    def class_sets(self) -> ClassSets | None:
        """Sets of classes with known coverage from held-out observations, if the network has kept some."""
        part = self.network.classifier
        if part is None:
            return None
        return ClassSets(
            (part.held_out_terms + part.density.log_shares).softmax(1), part.held_out_labels.long()
        )

    def region_radius(self, level: float) -> float:
        """Return the latent radius of the joint region of the targets that holds the truth with ``level``.

        Of a recalibrated posterior it is a conformal quantile of the radii of ``n`` held-out simulations: a
        further exchangeable truth lies inside with a probability between ``level`` and
        ``level + 1 / (n + 1)``. It is infinite where ``n`` is too small for the level. Without recalibration
        it is what holds if the posterior is exact.

        Raises:
            ValueError: if the level is not inside (0, 1).
        """
        if not 0 < level < 1:
            raise ValueError(f"level = {level} is not a probability; give e.g. 0.95.")
        radii = self.network.region_radii
        if radii is None:
            return float(chi.ppf(level, len(self.problem.targets)))
        rank = math.ceil((len(radii) + 1) * level - 1e-9)
        return float(radii[rank - 1]) if rank <= len(radii) else math.inf

    @torch.no_grad()
    def is_inside(self, theta: Tensor, observation: Tensor, level: float = 0.95) -> Tensor:
        """Whether targets lie in the joint region of ``level`` that an observation leaves.

        Args:
            theta: values of ``problem.targets``, physical units, broadcasts with ``(…, *batch, D)``.
            observation: shape ``(*batch, C)``.
            level: probability of the region, see ``region_radius``.

        Returns:
            Boolean, shape ``(…, *batch)``; false outside the parameters' bounds.

        Raises:
            ValueError: if the level is not inside (0, 1), or shapes do not fit.
        """
        radius, q = self.region_radius(level), self.target_posterior(observation)
        value = torch.as_tensor(theta).to(self.device, torch.float32)
        latent = q.base.latent(q.space.to_latent(value))
        return (latent.norm(dim=-1) <= radius) & q.space.contains(value)

    @torch.no_grad()
    def density_log_prob(self, observation: Tensor) -> Tensor:
        """Log density in nats of the features of observations ``(…, C)`` under every member, ``(M, …)``."""
        observation = self._checked(observation)
        with full_precision(observation.device):
            return self.network.observation_log_prob(self.problem.density_features(observation))

    def waic(self, observation: Tensor) -> Tensor:
        """Return WAIC in nats of observations ``(…, C)``, shape ``(…)``; HIGH = out of distribution."""
        return waic(self.density_log_prob(observation))

    def misfit(self, observation: Tensor) -> Tensor:
        """Return how much of observations ``(…, C)`` is not explained, HIGH = out, ``(…, J)``.

        The first score is WAIC; the others are those of the test of explanation, if the network has one.
        """
        rows = self._checked(observation)
        with torch.no_grad(), full_precision(rows.device):
            scores, _ = misfit_scores(self.problem, self.network, rows.reshape(-1, rows.shape[-1]))
        return scores.reshape(*rows.shape[:-1], scores.shape[-1])

    def is_explained(self, observation: Tensor, false_alarm: float = 0.05) -> Tensor:
        """Whether observations ``(…, C)`` are explained, boolean, ``(…)``, as the map ``ood`` says."""
        return self._verdict("ood", observation, false_alarm) < 0.5

    def p_value(self, observation: Tensor) -> Tensor:
        """Return p-values of observations ``(…, C)``, small = not explained, ``(…)``, as the map ``p_value``.

        All scores of ``misfit`` count together.
        """
        return self._verdict("p_value", observation)

    def _verdict(self, name: str, observation: Tensor, false_alarm: float = 0.05) -> Tensor:
        rows = self._checked(observation)
        with torch.no_grad(), full_precision(rows.device):
            columns = Explained(self.problem, self.network, false_alarm)(rows.reshape(-1, rows.shape[-1]))
        return columns[name].reshape(rows.shape[:-1])

    def posterior_width(self, observation: Tensor, samples: int = 64) -> Tensor:
        """Return the posterior standard deviation over the prior's, mean over the targets, shape ``(…)``."""
        targets = len(self.problem.targets)
        with torch.no_grad():
            latent = self.network.posterior(self._features(observation)).leading(targets).sample((samples,))
        rows = latent.reshape(samples, -1, targets)
        cut = Circles(rows, self.problem.space.subset(self.problem.targets)).cut(rows)
        return cut.std(0).mean(-1).reshape(latent.shape[1:-1])

    def maps(
        self,
        image: Tensor,
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
        has_trust: bool = True,
        seed: int = 0,
        batched: bool | None = None,
        progress: Callable[[float], None] = lambda share: None,
        curves: Curves | None = None,
    ) -> dict[str, MetaTensor]:
        """Return maps of the posterior of an image.

        Args:
            image: shape ``(B, C, *spatial)`` or ``(C, *spatial)``; geometry is kept if it is a MetaTensor.
            samples: posterior samples per pixel.
            interval: probability inside the reported interval.
            below: thresholds by parameter name, for ``probability_below``.
            quantiles: number of equally likely quantiles to return beside the median and the interval's ends.
            false_alarm: share of in-distribution pixels that ``ood`` may flag.
            adequacy: simulations per pixel behind the p-value ``adequacy``, see ``Adequacy``; 0 for none.
            adaptive: whether fewer samples are drawn where a fourth or half of them suffices, if the network
                has a preview head, see ``drawn_or_predicted``.
            keep: samples to return, the first ones of ``draw``, no more than are drawn everywhere: as many as
                ``samples``, a fourth of them with ``adaptive``.
            reweight: whether the posterior of each pixel comes from the likelihood of the problem, with the
                network's as proposal, see ``Reweighting``; some milliseconds a pixel.
            has_trust: whether to return what ``trust`` does as well.
            seed: seed of the latents, and of the noise of these simulations.
            batched: whether the image has a batch axis. It is only needed where both of the first two axes
                have as many entries as there are channels.
            progress: called with the share of the pixels that are done.
            curves: where curves of the pixels go with their posterior-predictive bands, which come from the
                simulations of ``adequacy``; nothing without these.

        Returns:
            Maps of shape ``(B, D + K or 1, *spatial)``, without ``B`` if the image had none: ``D`` targets,
            then ``K`` derived quantities. ``meta["channel_names"]`` and ``meta["units"]`` say what the
            channels are. The keys are those of ``PosteriorInferer``.

        Raises:
            ValueError: if the image has another number of channels, or either of its first two axes may be
                that of the channels and ``batched`` does not say which; for options as ``PosteriorInferer``.
        """
        inferer = self._inferer(
            samples=samples,
            interval=interval,
            below=below,
            quantiles=quantiles,
            false_alarm=false_alarm,
            adequacy=adequacy,
            adaptive=adaptive,
            keep=keep,
            reweight=reweight,
            has_trust=has_trust,
            seed=seed,
        )
        whole, has_batch = self._batched(image, batched)
        maps: dict[str, Tensor] = {}
        for share, current in inferer.stream(whole, self.network, curves):
            maps = current
            progress(share)
        maps = maps if has_batch else {k: v[0] for k, v in maps.items()}
        return self.with_meta(maps, image, below=inferer.below, levels=inferer.levels, kept=keep)

    @property
    def preview_levels(self) -> tuple[float, ...]:
        """Levels of the quantiles that ``preview`` returns."""
        head = self.network.preview
        return () if head is None else tuple(round(level, 6) for level in head.levels.tolist())

    def preview(self, image: Tensor, *, batched: bool | None = None) -> dict[str, MetaTensor]:
        """Return quick maps from one pass for each pixel.

        Keys: ``median``, ``interval_low``, ``interval_high``, ``interval_width`` of the interval between the
        outermost of ``preview_levels``, ``quantiles`` at all of them, and ``valid``, of the targets alone:
        derived quantities need joint samples. Arguments are those of ``maps``.
        """
        whole, has_batch = self._batched(image, batched)
        maps = self._inferer().preview(whole, self.network)
        maps = maps if has_batch else {k: v[0] for k, v in maps.items()}
        targets = self.problem.shown[: len(self.problem.targets)]
        return self.with_meta(maps, image, levels=self.preview_levels, shown=targets)

    def trust(
        self, image: Tensor, *, false_alarm: float = 0.05, batched: bool | None = None
    ) -> dict[str, MetaTensor]:
        """Return the maps ``waic``, ``ood``, ``p_value``, ``reason`` and ``valid`` of an image, no posterior.

        Arguments are those of ``maps``.
        """
        inferer = self._inferer(false_alarm=false_alarm)
        whole, has_batch = self._batched(image, batched)
        maps = inferer.trust(whole, self.network)
        return self.with_meta(maps if has_batch else {k: v[0] for k, v in maps.items()}, image)

    def draw(
        self, image: Tensor, samples: int, *, seed: int = 0, batched: bool | None = None
    ) -> Iterator[MetaTensor]:
        """Yield coherent posterior samples of an image one by one, ``(D + K, *spatial)``, physical units.

        Derived quantities stand behind the ``D`` targets. One latent per sample serves all pixels, so that
        neighbouring pixels of a sample agree. Arguments are those of ``maps``.
        """
        whole, has_batch = self._batched(image, batched)
        for sample in self._inferer(seed=seed).draw(whole, self.network, samples):
            yield self.with_meta({"sample": sample if has_batch else sample[0]}, image)["sample"]

    def images(
        self,
        observation: Tensor,
        *,
        samples: int = 64,
        interval: float = 0.95,
        keep: int = 4,
        seed: int = 0,
        temperature: float = 1.0,
        progress: Callable[[float], None] = lambda share: None,
    ) -> dict[str, Tensor]:
        """Return the posterior of unknown images, of problems whose parameters are pixels.

        One latent per sample serves all observations, so that a sample of neighbouring slices is a coherent
        volume. A problem may show another image than the unknown one, see ``InverseProblem.seen_images``.

        Args:
            observation: shape ``(*batch, C)``.
            samples: posterior samples of each image.
            interval: probability inside the reported interval, pixel by pixel.
            keep: samples to return.
            seed: seed of the latents.
            temperature: what latents are multiplied by, see ``ImageDistribution.tempered``; 1 is the
                posterior.
            progress: called with the share of the images that are done.

        Returns:
            ``mean``, ``median``, ``interval_low``, ``interval_high`` and ``interval_width``, each of shape
            ``(*batch, channels, *size)``, and ``samples``, ``(keep, *batch, channels, *size)``, in the unit
            of the pixels.

        Raises:
            ValueError: if no image is unknown, or a number is out of range.
        """
        from monai_inn.inferers.images import summarised_images

        return summarised_images(self, observation, samples, interval, keep, seed, temperature, progress)

    def with_meta(self, maps: Mapping[str, Tensor], image: Tensor, **said: Any) -> dict[str, MetaTensor]:
        """Attach the image's geometry and the names and units of the channels to maps of it.

        Channels are those of ``problem.shown``; ``said`` goes to ``described_maps``.
        """
        from monai_inn.inferers.described import described_maps  # MONAI, which takes seconds to import

        found = reasons(self.problem, self.network)
        return described_maps(maps, image, **{"shown": self.problem.shown, "reasons": found} | said)

    def save(self, path: str | PathLike[str]) -> None:
        """Write a MONAI bundle folder, which ``monai_inn.load`` and ``python -m monai.bundle`` read."""
        # Bundles stand above posteriors, which know them by name alone.
        importlib.import_module("monai_inn.bundles.writing").save(self, path)

    def _inferer(self, **options: Any) -> PosteriorInferer:
        from monai_inn.inferers.posterior import PosteriorInferer  # MONAI, which takes seconds to import

        return PosteriorInferer(self.problem, **options)

    def _features(self, observation: Tensor) -> Tensor:
        observation = self._checked(observation)
        with full_precision(observation.device):
            return self.problem.features(observation)

    def _checked(self, observation: Tensor) -> Tensor:
        observation, channels = torch.as_tensor(observation), len(self.problem.observation)
        if observation.shape[-1:] != (channels,):
            raise ValueError(
                f"observations have shape {tuple(observation.shape)}, expected {channels} channels on the "
                "last axis."
            )
        # Networks make tensors like their input, which a MetaTensor with its geometry is not meant for. A
        # plain tensor stays as it is: torch.compile cannot follow as_subclass.
        plain = observation if type(observation) is Tensor else observation.as_subclass(Tensor)
        return plain.to(self.device, torch.float32)

    def _batched(self, image: Tensor, batched: bool | None) -> tuple[Tensor, bool]:
        """The image with a batch axis, and whether it came with one."""
        self.problem.require_maps()
        channels = self.problem.observation.channels
        image = torch.as_tensor(image).to(self.device)
        first, second = (size == channels for size in (*image.shape[:2], -1, -1)[:2])
        if batched is None and first and second:
            raise ValueError(
                f"an image of shape {tuple(image.shape)} may have its {channels} channels on either "
                "of its first two axes; say batched=False for the first, batched=True for the second."
            )
        has_batch = second if batched is None else batched
        return (image, True) if has_batch else (image.unsqueeze(0), False)
