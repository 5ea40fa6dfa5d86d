"""What an inverse problem means to people: its words, its images, its configs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_inn.problems.parameters import one_of_each_field

if TYPE_CHECKING:
    from monai.data.meta_tensor import MetaTensor

    from monai_inn.problems.base import InverseProblem

__all__ = ["SHUFFLED", "Application", "Curve", "shuffled_channels"]

SHUFFLED = "shuffled_channels"
"""What every problem is tried on whose channels do not all mean the same."""

_LIMITS_OF_PIXELS = (
    "The out-of-distribution mask does not see every deviation: an unmasked pixel is not proven right.",
    "Pixels are inferred one by one; neighbours do not help each other.",
)
_SHOWS = {"type": "image", "format": "magnitude", "dtype": "float32", "is_patch_data": False}


class Curve(NamedTuple):
    """An observation as a curve over an axis, in words; a unit is ``"1"`` if there is none, empty if unknown.

    Attributes:
        quantity: what ``inferers.curves.curve_values`` are, of each entry of a series or each channel.
        unit: their unit.
        axis: what the setting of an entry is, or the wavelength of a channel.
        axis_unit: its unit.
    """

    quantity: str
    unit: str
    axis: str
    axis_unit: str


class Application:
    """What is said and done for one problem. A problem with more to say returns a subclass.

    Attributes:
        device: name of the camera or scanner that observations come from, for people; ``None`` if none is
            named.
        modality: what kind of images observations are, for ``network_data_format``.
        value_range: least and largest value of an observation; empty if there is none.
        wavelengths_nm: centre of each channel, from which colours for display follow; ``None`` if channels
            are not bands of light.
        extras: extras of the package that MONAI's command line needs for a bundle.
        references: publications beside those of the method.
        cases: what observations to learn from and to measure on are.
        unexplained: what is said of an observation that no parameters explain.
        is_without_patients: whether people are told that no patient's data are in the simulations.
        verb: of the command line that answers for whole observations, of which there are no maps.
        volumes: names of the volumes that ``verb`` takes, as ``NAME=FILE`` each; empty if it takes one file.
        noise_sd: what ``--noise-sd`` of ``verb`` means, in words; empty if it has no such option.
        are_channels_alike: whether all values mean the same, as draws in no order do. Their order then tells
            nothing, and a network is not tried on shuffled ones.
        series_advice: what makes a series as the problem needs it, after "give …"; empty if nothing does.
        is_quickly_simulated: whether a simulation takes some microseconds, so that each series is simulated
            again to tell whether the model explains it, see ``inferers.trust.resimulated``.
        usual_fit: the fit that other programs make of a pixel, see ``ends_at_bound``; empty if there is none.
        warnings: what is doubtful about the problem itself, one sentence or more each. ``fit`` keeps it in
            the card, so that it is said wherever answers are shown.
    """

    device: str | None = None
    modality: str = "simulated"
    value_range: tuple[float, ...] = ()
    wavelengths_nm: NDArray[np.float64] | None = None
    extras: tuple[str, ...] = ("bundle",)
    references: tuple[str, ...] = ()
    cases: str = "simulations"
    unexplained: str = "more than any parameters of the model explain"
    is_without_patients: bool = False
    verb: str = ""
    volumes: tuple[str, ...] = ()
    noise_sd: str = ""
    are_channels_alike: bool = False
    series_advice: str = ""
    is_quickly_simulated: bool = False
    usual_fit: str = ""
    warnings: tuple[str, ...] = ()

    def __init__(self, problem: InverseProblem) -> None:
        self.problem = problem

    def ends_at_bound(self, y: Tensor) -> Tensor:
        """Return whether ``usual_fit`` of observations ``(n, C)`` ends with a parameter at a bound, ``(n,)``.

        Raises:
            NotImplementedError: if there is no such fit.
        """
        raise NotImplementedError(f"the problem {self.problem.name!r} has no usual fit.")

    @property
    def result(self) -> str:
        """Kind of result that people get, which programs choose bundles by.

        ``"maps"`` or ``"posterior"``; an application may say otherwise, such as ``"poses"``, ``"classes"`` or
        ``"images"``. The last are written by ``verb``, given ``volumes`` or a file.
        """
        return "maps" if self.problem.observation.is_local else "posterior"

    @property
    def instead_of_maps(self) -> str:
        """What to do with whole observations, of which there are no maps."""
        return f"use `monai-inn {self.verb}`" if self.verb else "ask for its posterior"

    @property
    def task(self) -> str:
        """One line for catalogues."""
        shown = self.problem.shown
        kind = "Posterior maps" if self.problem.observation.is_local else "Posterior"
        return f"{kind} of {', '.join(p.description or p.name for p in one_of_each_field(shown))}"

    @property
    def description(self) -> str:
        """What the network does."""
        one = "pixel" if self.problem.observation.is_local else "observation"
        return (
            f"Conditional normalizing flow for the inverse problem {self.problem.name!r}: for every {one} "
            "the posterior of the hidden parameters, and a score that tells whether the "
            f"{one} resembles the training data."
        )

    @property
    def data_source(self) -> str:
        """Where training data come from."""
        package = type(self.problem).__module__.partition(".")[0]
        patients = "; no patient data" if self.is_without_patients else ""
        return f"Simulations of the forward model {self.problem.name!r} of {package}{patients}."

    @property
    def unseen(self) -> str:
        """What a network is measured on."""
        return f"{'fresh' if self.problem.can_simulate else 'held-out'} {self.cases}"

    @property
    def data_type(self) -> str:
        """Which files may be inferred."""
        return "simulated; images of any format that monai_inn.transforms.read_multispectral reads"

    @property
    def device_line(self) -> str:
        """What the model card says of the device, in Markdown; empty if there is nothing."""
        return ""

    @property
    def device_text(self) -> str:
        """The same for a terminal."""
        return self.device_line.replace("`", "")

    @property
    def curve(self) -> Curve | None:
        """What people see as a curve of a pixel; of a series with one setting by its names, else nothing."""
        observation = self.problem.observation
        if observation.kind != "series" or len(observation.context) != 1:
            return None
        return Curve(observation.names[0], "", observation.context[0], "")

    @property
    def limits(self) -> tuple[str, ...]:
        """Sentences on what the network cannot do, for its model card."""
        other = "that the forward model cannot produce" if self.problem.can_simulate else "unlike these"
        general = (
            f"Calibration holds on average over the prior, for data like the {self.cases}; it says nothing "
            f"about an observation {other}."
        )
        own = _LIMITS_OF_PIXELS if self.problem.observation.is_local else ()
        return (general, *own, "No evaluation on patients has been made.")

    @property
    def usage(self) -> tuple[str, ...]:
        """Command lines for the model card, in the folder of the bundle."""
        if not self.problem.observation.is_local:
            return ("monai-inn validate . -o REPORT",)
        return (
            "monai-inn infer . IMAGE -o OUT",
            "python -m monai.bundle run --config_file configs/inference.json --meta_file "
            "configs/metadata.json --bundle_root . --dataset_dir IMAGE",
            "python -m monai.bundle ckpt_export network_def --filepath models/model.ts --ckpt_file "
            "models/model.pt --meta_file configs/metadata.json --config_file configs/inference.json "
            '--use_trace True --input_shape "[1, CHANNELS, 64, 64]"',
            "python -m monai.bundle run --config_file configs/export.json --bundle_root .",
        )

    def channel_text(self, name: str) -> str:
        """Return what a channel of an observation is, with its unit where it has one."""
        return name

    def input_format(self) -> dict[str, Any]:
        """Return the entry ``inputs.image`` of a bundle's ``network_data_format``."""
        observation = self.problem.observation
        size: list[Any]
        if observation.is_local:
            channels, size = observation.columns[: observation.channels], ["*", "*"]
        else:
            channels, size = observation.names, list(observation.size)
        return {
            **_SHOWS,
            "modality": self.modality,
            "num_channels": len(channels),
            "spatial_shape": size,
            "value_range": list(self.value_range),
            "channel_def": {str(i): self.channel_text(name) for i, name in enumerate(channels)},
        }

    def loading(self) -> list[dict[str, Any]]:
        """Return the transforms of ``inference.json`` between file and network."""
        steps: list[dict[str, Any]] = [{"_target_": "monai_inn.transforms.LoadMultispectrald"}]
        if self.problem.observation.kind == "series":
            problem = "$@network_def.problem"
            steps += [
                {"_target_": "monai_inn.transforms.MatchSeriesd", "observation": f"{problem}.observation"},
                {
                    "_target_": "monai_inn.transforms.MatchApplicationd",
                    "application": f"{problem}.application",
                },
            ]
        return [step | {"keys": "image"} for step in steps]

    def evaluator(self) -> dict[str, Any]:
        """Return what ``inference.json`` of a bundle of whole images calls, and its settings.

        The function also gets ``bundle``, ``out`` and ``device``. Empty if there is no such config.
        """
        return {}

    def configs(self) -> Mapping[str, dict[str, Any]]:
        """Return configs of a bundle that take the place of the usual ones, by name."""
        return {}

    def match(self, image: MetaTensor, path: str) -> MetaTensor:
        """Return an image whose channels are those of an observation.

        Args:
            image: what was read, ``(C, *spatial)``.
            path: where from, for messages.

        Raises:
            ValueError: if that cannot be.
        """
        needed = self.problem.observation.channels
        if len(image) != needed:
            raise ValueError(
                f"{path}: image has {len(image)} channels, but the problem {self.problem.name!r} has "
                f"{needed} observations; give an image with one channel for each."
            )
        return image

    def usable(self) -> Callable[[Tensor], Tensor] | None:
        """Return a function from an image ``(C, *spatial)`` to its usable pixels ``(*spatial)``, if any."""
        return None

    def deviations(self) -> Mapping[str, Mapping[str, Tensor]]:
        """Return shapes of deviations that the test of explanation looks for.

        Returns:
            Families, such as absorption bands or dyes; each has shapes ``(K,)``, of any size, of what is left
            of ``problem.explained_features``, by what is said of an observation that has it.
        """
        return {}

    def measured(self, n: int, seed: int) -> Mapping[str, Tensor]:
        """Return measured observations that count as explained, some ``(n_i, C)`` of each of several objects.

        Thresholds are set so that an object that was left out passes. There are none here.

        Args:
            n: how many in all, about.
            seed: seed of what is drawn.
        """
        return {}

    def corruptions(self, y: Tensor) -> dict[str, Tensor]:
        """Return observations ``(n, C)`` that a guard should notice, by what was done to them."""
        number = self.problem.observation.num_values
        if number < 2 or self.are_channels_alike:
            return {}
        return {SHUFFLED: shuffled_channels(y, number)}


def shuffled_channels(y: Tensor, num_values: int) -> Tensor:
    """Return observations ``(n, C)`` with their values in another order, the same for all; settings stay."""
    order = torch.randperm(num_values, generator=torch.Generator().manual_seed(0))
    if torch.equal(order, torch.arange(num_values)):  # as of two
        order = order.flip(0)
    return torch.cat([y[:, order], y[:, num_values:]], 1)
