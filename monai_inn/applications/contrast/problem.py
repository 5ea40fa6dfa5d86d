"""Contrast translation: slices of a brain in one MR contrast, given those in others."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from monai_inn.applications.contrast.application import TranslationApplication
from monai_inn.applications.contrast.scans import Scan, Shape, shape_of
from monai_inn.physics.tables import read_table
from monai_inn.problems import InverseProblem, Observation
from monai_inn.problems.configured import checksum
from monai_inn.problems.drawing import BLOCK
from monai_inn.problems.parameters import pixel_parameters
from monai_inn.seeding import stream

__all__ = ["ContrastTranslation"]

OUTSIDE_SD = 9.0
"""Grey levels, standard deviation of the noise that stands for the target outside the brain."""

_SD = 40.0  # grey levels of the target, about: brings the flow's space to unit variance
_SCALE_SD = 0.03  # of the logarithm of the grey levels of a new scan
_MOST_SHIFT = 4
_LEAST_SHARE = 0.1  # of a slice's pixels that are brain, of those that are trained on
_MOST_APART = {"quantiles": 0.35, "correlation": 0.2}
_MOST_BRIGHTER = 0.35  # logarithm of the brightest voxels over the peak, beside the mean of the training


class ContrastTranslation(InverseProblem):
    """Axial slices of a brain in a contrast that was not acquired, given others that were.

    There is no forward model: simulations are slices of patients of whom all contrasts are known, mirrored
    and shifted. The held-out patient's slices are those that a training is judged by; without one, all
    patients are both. Grey levels are brought to common ones by the most frequent grey level of the brain, of
    a new scan too; what is left of its uncertainty is drawn anew for each step. Outside the brain nothing is
    claimed: the target is constant there, with white noise of known size.

    Args:
        given: names of the observed contrasts.
        target: name of the unknown one.
        size: pixels of a slice, to the right and to the front; a brain must fit into it.
        spacing_mm: of the volumes, along each axis.
        peaks: the most frequent grey level of each contrast, the target's last; means of the patients if not
            given.
        shapes: quantiles and correlations of each training patient, see ``scans.Shape``.
        scans: the patients, each with the contrasts ``given`` and the target. A bundle holds none.
        held_out: name of the patient that the training does not see.

    Raises:
        ValueError: if patients are missing, or the brain of one does not fit.
    """

    name: ClassVar[str] = "contrast_translation"
    can_simulate = False
    flow = {"num_blocks": 3, "hidden_channels": 48, "features": (16, 16, 32, 64, 64)}  # noqa: RUF012

    def __init__(
        self,
        given: Sequence[str] = ("t1", "t2"),
        target: str = "flair",
        size: Sequence[int] = (96, 112),
        spacing_mm: float = 1.5,
        peaks: Sequence[float] | None = None,
        shapes: Sequence[Mapping[str, Any]] = (),
        scans: Sequence[Scan] | None = None,
        held_out: str | None = None,
    ) -> None:
        self.given, self.target, self.size, self.spacing_mm = tuple(given), target, tuple(size), spacing_mm
        self.held_out = held_out
        self._is_made_up = scans is None and peaks is None
        if self._is_made_up:
            from monai_inn.applications.contrast.phantom import made_up

            scans = made_up(len(self.given) + 1, self.size)
        scans = scans or ()
        seen = [scan for scan in scans if scan.name != held_out]
        if scans and (not seen or (held_out is not None and len(seen) == len(scans))):
            names = ", ".join(scan.name for scan in scans)
            raise ValueError(f"held_out = {held_out!r} of the patients {names}; name one, and give others.")
        if peaks is None:
            peaks = torch.stack([scan.white() for scan in seen]).mean(0).tolist()
        self.peaks = torch.tensor(peaks)
        own = [shape_of(s.values[:-1], s.brain, s.peak[:-1]) for s in seen]
        self.shapes = [Shape(*(torch.tensor(entry[n]) for n in Shape._fields)) for entry in shapes] or own
        self._slices = {scan.name: self.slices(scan) for scan in scans}
        self._training: int | None = None
        self.observation = Observation.image(self.size, *self.given)
        about = {target: f"{target.upper()} image"}
        self.parameters = pixel_parameters(target, "grey level", self.size, about, float(self.peaks[-1]), _SD)
        self.targets = self.space.names

    @property
    def application(self) -> TranslationApplication:
        """Words of contrast translation."""
        return TranslationApplication(self)

    @classmethod
    def of_files(
        cls,
        patients: Mapping[str, Mapping[str, str | PathLike[str]]],
        given: Sequence[str],
        target: str,
        *,
        spacing_mm: float = 1.5,
        **options: Any,
    ) -> ContrastTranslation:
        """Return the problem of patients' NIfTI files, by name and contrast.

        Raises:
            ValueError: if a file is damaged or does not fit, see ``Scan.read``, or a contrast is missing.
        """
        scans = []
        for name, files in patients.items():
            missing = [contrast for contrast in (*given, target) if contrast not in files]
            if missing:
                raise ValueError(f"patient {name!r} has no file of {', '.join(missing)}; give all contrasts.")
            chosen = {contrast: files[contrast] for contrast in (*given, target)}
            scans.append(Scan.read(chosen, spacing_mm, name, extra=1))
        return cls(given, target, spacing_mm=spacing_mm, scans=scans, **options)

    @classmethod
    def add_options(cls, parser: argparse._ActionsContainer) -> None:
        """Add patients and contrasts."""
        parser.add_argument("--patients", metavar="CSV", help="a row a patient: name, and a NIfTI file of "
                            "each contrast, brain only, in columns of the contrasts' names")  # fmt: skip
        parser.add_argument("--given", default="t1,t2", help="observed contrasts (t1,t2)")
        parser.add_argument(
            "--target", default="flair", help="the contrast that is to be translated to (flair)"
        )
        parser.add_argument("--held-out", metavar="NAME", help="patient that only judges the training")

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> ContrastTranslation:
        """Return the problem of the patients in a table."""
        if options.patients is None:
            raise ValueError(
                "contrasts are translated as in patients' images; give their files: --patients CSV."
            )
        rows = read_table(options.patients).records("name")
        home = Path(options.patients).parent
        patients = {row.pop("name"): {n: home / file for n, file in row.items() if file} for row in rows}
        given = tuple(options.given.split(","))
        return cls.of_files(patients, given, options.target, held_out=options.held_out)

    def slices(self, scan: Scan) -> Tensor:
        """Return harmonised slices that hold enough brain, ``(n, X, Y, F)``; the contrasts are the last axis.

        Raises:
            ValueError: if the brain does not fit into a slice.
        """
        whole = self.window(scan, scan.harmonised(self.peaks[: len(scan.values)]))
        return whole[self.is_enough(whole[..., 0] > 0)]

    @staticmethod
    def is_enough(brain: Tensor) -> Tensor:
        """Whether slices ``(…, X, Y)`` hold enough of the brain for anything to be claimed, ``(…)``."""
        return brain.float().mean((-2, -1)) >= _LEAST_SHARE

    def window(self, scan: Scan, volumes: Tensor) -> Tensor:
        """Return all slices of volumes ``(F, X, Y, Z)`` around the brain, ``(Z, *size, F)``."""
        padded = torch.nn.functional.pad(volumes, (0, 0, *(m for n in self.size[::-1] for m in (n, n))))
        for axis, (start, n) in enumerate(zip(self.corner(scan), self.size, strict=True), start=1):
            padded = padded.narrow(axis, start + n, n)
        return padded.permute(3, 1, 2, 0).contiguous()

    def placed(self, scan: Scan, images: Tensor, chosen: Tensor) -> Tensor:
        """Return volumes ``(…, X, Y, Z)`` of slices ``(…, n, *size)``, the chosen ``(Z,)``; NaN elsewhere."""
        shape = scan.brain.shape
        margins = [n + 2 * m for n, m in zip(shape[:2], self.size, strict=True)]
        volume = torch.full((*images.shape[:-3], *margins, shape[2]), torch.nan)
        (x, n), (y, m) = ((c + s, s) for c, s in zip(self.corner(scan), self.size, strict=True))
        volume[..., x : x + n, y : y + m, chosen] = images.movedim(-3, -1)
        return volume[..., n : n + shape[0], m : m + shape[1], :]

    def corner(self, scan: Scan) -> tuple[int, ...]:
        """Return the index of the volume, maybe negative, where slices begin along each of both axes."""
        corner = []
        for axis, n in enumerate(self.size):
            there = scan.brain.movedim(axis, 0).flatten(1).any(1).nonzero().flatten()
            low, high = int(there[0]), int(there[-1]) + 1
            if high - low > n:
                raise ValueError(
                    f"{scan.name}: the brain takes {high - low} voxels along axis {axis + 1}, and this "
                    f"network sees {n}; check that only the brain is left in the images."
                )
            corner.append((low + high - n) // 2)
        return tuple(corner)

    def check_contrasts(self, scan: Scan) -> None:
        """Raise a ``ValueError`` if the grey levels of a scan are not those of the contrasts ``given``."""
        values, peak = scan.values[: len(self.given)], scan.peak[: len(self.given)]
        own = shape_of(values, scan.brain, peak)
        for field, most in _MOST_APART.items():
            known = torch.stack([getattr(shape, field) for shape in self.shapes])
            found = getattr(own, field)
            apart = torch.maximum(known.amin(0) - found, found - known.amax(0))
            if apart.numel() and float(apart.max()) > most:
                which = (
                    self.given[int(apart.amax(-1).argmax())]
                    if field == "quantiles"
                    else ", ".join(self.given)
                )
                also = "" if field == "quantiles" else ", of one patient and aligned with each other"
                raise ValueError(
                    f"{scan.name}: the grey levels of {which} are not like those of this network's patients "
                    f"(their {field} differ by {float(apart.max()):.2f}, at most {most}); check that the "
                    f"files hold {', '.join(self.given)}, in this order{also}."
                )
        brighter = (self.peaks[: len(self.given)] / scan.white()[: len(self.given)]).log()
        worst = int(brighter.abs().argmax())
        if float(brighter[worst].abs()) > _MOST_BRIGHTER:
            times = float(brighter[worst].exp())
            raise ValueError(
                f"{scan.name}: the brightest voxels of {self.given[worst]} are {times:.2g} times as bright, "
                "beside its most frequent grey level, as those of this network's patients; check that it is "
                "that contrast, without contrast agent if the training had none."
            )

    def split(self, training: int, held_out: int, thresholds: int, measured: int) -> None:
        """Say which seed is the training's; all others stand for the held-out patient."""
        self._training = training

    def simulate_clean(self, n: int, seed: int = 0, first_block: int = 0) -> tuple[Tensor, Tensor]:
        """Draw slices, mirrored and shifted.

        Raises:
            ValueError: if the problem holds no patients.
        """
        if not self._slices:
            raise ValueError(
                "a bundle holds no patient's images, so that nothing can be drawn from it; give the files."
            )
        is_judged = self.held_out is not None and seed != self._training
        names = [
            name for name in self._slices if (name == self.held_out) == is_judged or self.held_out is None
        ]
        pool = torch.cat([self._slices[name] for name in names])
        blocks = range(first_block, first_block + math.ceil(n / BLOCK))
        rows = [
            self._drawn(pool, min(BLOCK, n - i * BLOCK), stream(seed, b, "slices"))
            for i, b in enumerate(blocks)
        ]
        theta, y = (torch.cat(column) for column in zip(*rows, strict=True))
        return theta, y

    def _drawn(self, pool: Tensor, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Some slices; a block draws the same numbers however many of it are asked for."""
        which = torch.randint(len(pool), (BLOCK,), generator=generator)
        mirrored = torch.rand(BLOCK, generator=generator) < 0.5
        shift = torch.randint(-_MOST_SHIFT, _MOST_SHIFT + 1, (BLOCK, 2), generator=generator).tolist()
        noise = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=generator)))
        theta, y = [], []
        for row in range(n):
            image = pool[which[row]]
            image = (image.flip(0) if mirrored[row] else image).roll(shift[row], (0, 1))
            theta.append(self.filled(image, noise).flatten())
            y.append(image[..., :-1].flatten())
        return torch.stack(theta), torch.stack(y)

    def filled(self, images: Tensor, generator: torch.Generator, step: float = 1.0) -> Tensor:
        """Return the target ``(…)`` of contrasts ``(…, F)``, white noise outside the brain.

        Grey levels are integers times ``step``, to which a share of a step is added or none has a density.
        """
        brain = images[..., 0] > 0
        blurred = images[..., -1] + step * (torch.rand(brain.shape, generator=generator) - 0.5)
        outside = self.peaks[-1] + OUTSIDE_SD * torch.randn(brain.shape, generator=generator)
        return torch.where(brain, blurred, outside)

    def forward(self, theta: Tensor) -> Tensor:
        """Raise a ``ValueError``: what one contrast says of others is known from patients alone."""
        raise ValueError("contrasts are translated from patients' images; there is no forward model.")

    def noise(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return observations ``(…, C)`` whose contrasts are scaled, each by a factor of its own."""
        factor = torch.randn((*y.shape[:-1], 1, len(self.given)), generator=generator, dtype=y.dtype)
        scaled = y.unflatten(-1, (-1, len(self.given))) * (_SCALE_SD * factor.to(y)).exp()
        return scaled.flatten(-2)

    def features(self, y: Tensor) -> Tensor:
        """Return each place's grey levels over their peaks, squares and products, and whether it is brain.

        The closed-form start of a flow is linear in them. One contrast depends on others along a curve, of
        which squares and products hold most: without them the error of FLAIR is half as large again.
        """
        images = y.unflatten(-1, (-1, len(self.given)))
        brain = (images > 0).all(-1, keepdim=True)
        apart = torch.where(brain, images / self.peaks[:-1].to(y) - 1, 0.0)
        first, second = torch.combinations(torch.arange(len(self.given)), with_replacement=True).T
        return torch.cat([apart, apart[..., first] * apart[..., second], brain.to(y)], -1).flatten(-2)

    def density_features(self, y: Tensor) -> Tensor:
        """Return moments of the brain's grey levels, of their steps and products, ``(…, K)``."""
        images = y.unflatten(-1, (*self.size, -1)).movedim(-1, -3)
        brain = (images > 0).all(-3, keepdim=True)
        count = brain.sum((-1, -2)).clamp_min(1)
        apart = (images / self.peaks[:-1].to(y).view(-1, 1, 1) - 1) * brain
        pairs = torch.combinations(torch.arange(len(self.given)))
        products = apart[..., pairs[:, 0], :, :] * apart[..., pairs[:, 1], :, :]
        powers = [apart**k for k in range(1, 5)]
        sums = [values.sum((-1, -2)) for values in (*powers, apart.diff(dim=-2).abs(), products)]
        return torch.cat([total / count for total in sums], -1)

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this problem from every other, its patients included."""
        return super().identity | {"patients": {n: checksum(rows) for n, rows in self._slices.items()}}

    def to_config(self) -> dict[str, Any]:
        """Return the constructor's arguments without the patients, who are nobody if they were made up."""
        sizes = {
            "given": list(self.given),
            "target": self.target,
            "size": list(self.size),
            "spacing_mm": self.spacing_mm,
        }
        if self._is_made_up:
            return sizes
        shapes = [{n: getattr(shape, n).tolist() for n in Shape._fields} for shape in self.shapes]
        return sizes | {"peaks": self.peaks.tolist(), "shapes": shapes}
