"""What ``fit`` returns and a bundle holds: a problem with its trained network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from monai_inn.fitted.writing import save
from monai_inn.inferers.rows import RowPosterior
from monai_inn.inferers.trust.verdicts import reasons

if TYPE_CHECKING:
    from monai.data.meta_tensor import MetaTensor

    from monai_inn.inferers.curves import Curves
    from monai_inn.inferers.posterior import PosteriorInferer

__all__ = ["FittedPosterior"]


class FittedPosterior(RowPosterior):
    """A trained posterior: ask it for distributions, maps of images, and whether to trust them."""

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
            seed=seed,
        )
        maps: dict[str, Tensor] = {}
        for share, current in inferer.stream(self._batched(image, batched), self.network, curves):
            maps = current
            progress(share)
        return self.with_meta(maps, image, below=inferer.below, levels=inferer.levels, kept=keep)

    @property
    def preview_levels(self) -> tuple[float, ...]:
        """Levels of the quantiles that ``preview`` returns."""
        head = self.network.preview
        return () if head is None else tuple(round(level, 6) for level in head.levels.tolist())

    def preview(
        self, image: Tensor, *, most: int | None = None, batched: bool | None = None
    ) -> dict[str, MetaTensor]:
        """Return quick maps from one pass for each pixel.

        In an image of more than ``most`` pixels, the first valid one of a block stands for the block.

        Keys: ``median``, ``interval_low``, ``interval_high``, ``interval_width`` of the interval between the
        outermost of ``preview_levels``, ``quantiles`` at all of them, and ``valid``, of the targets alone:
        derived quantities need joint samples. Arguments are those of ``maps``.
        """
        maps = self._inferer().preview(self._batched(image, batched), self.network, most)
        targets = self.problem.shown[: len(self.problem.targets)]
        return self.with_meta(maps, image, levels=self.preview_levels, shown=targets)

    def trust(
        self,
        image: Tensor,
        *,
        false_alarm: float = 0.05,
        most: int | None = None,
        batched: bool | None = None,
    ) -> dict[str, MetaTensor]:
        """Return the maps ``waic``, ``ood``, ``p_value``, ``reason`` and ``valid`` of an image, no posterior.

        Arguments are those of ``maps`` and ``preview``.
        """
        inferer = self._inferer(false_alarm=false_alarm)
        return self.with_meta(inferer.trust(self._batched(image, batched), self.network, most), image)

    def draw(
        self, image: Tensor, samples: int, *, seed: int = 0, batched: bool | None = None
    ) -> Iterator[MetaTensor]:
        """Yield coherent posterior samples of an image one by one, ``(D + K, *spatial)``, physical units.

        Derived quantities stand behind the ``D`` targets. One latent per sample serves all pixels, so that
        neighbouring pixels of a sample agree. Arguments are those of ``maps``.
        """
        whole = self._batched(image, batched)
        for sample in self._inferer(seed=seed).draw(whole, self.network, samples):
            yield self.with_meta({"sample": sample}, image)["sample"]

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

        Maps have no batch axis if the image has none. Channels are those of ``problem.shown``; ``said`` goes
        to ``described_maps``.
        """
        from monai_inn.inferers.described import described_maps  # MONAI, which takes seconds to import

        maps = {name: value if value.ndim == image.ndim else value[0] for name, value in maps.items()}
        found = reasons(self.problem, self.network)
        return described_maps(maps, image, **{"shown": self.problem.shown, "reasons": found} | said)

    def save(self, path: str | PathLike[str]) -> None:
        """Write a MONAI bundle folder, which ``monai_inn.load`` and ``python -m monai.bundle`` read."""
        save(self, path)

    def _inferer(self, **options: Any) -> PosteriorInferer:
        from monai_inn.inferers.posterior import PosteriorInferer  # MONAI, which takes seconds to import

        return PosteriorInferer(self.problem, **options)

    def _batched(self, image: Tensor, batched: bool | None) -> Tensor:
        """The image with a batch axis."""
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
        return image if has_batch else image.unsqueeze(0)
