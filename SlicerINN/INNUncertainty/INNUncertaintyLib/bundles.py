"""The bundles that can be chosen, as `monai-inn bundles` lists them, in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from .images import Channels

__all__ = ["Bundle", "bundles_of", "calibration_line", "holds_bundles"]

_METADATA = "configs/metadata.json"


@dataclass(frozen=True)
class Bundle:
    """One bundle of the chooser.

    Args:
        entry: what `monai-inn bundles --json` says of it.
    """

    entry: dict[str, Any]

    @property
    def path(self) -> str:
        """Its folder."""
        return self.entry["path"]

    @property
    def name(self) -> str:
        """Its name."""
        return self.entry["name"]

    @property
    def error(self) -> str:
        """Why it cannot be used; empty if it can."""
        return self.entry.get("error", "")

    @property
    def bands(self) -> int:
        """Channels of the images that it is for."""
        return self.entry.get("bands", 0)

    @property
    def is_classifier(self) -> bool:
        """Whether it tells the class of a whole image, instead of making maps."""
        return self.entry.get("result") == "classes"

    @property
    def takes(self) -> dict[str, Any] | None:
        """Of a bundle for unknown images: its ``verb``, and names of ``volumes``, none if it takes a file.

        ``noise_sd`` says what the level of the noise means, if it can be given.
        """
        return self.entry.get("takes")

    @property
    def makes_maps(self) -> bool:
        """Whether an image of so many channels is all that it needs."""
        return not (self.is_classifier or self.takes)

    @property
    def device(self) -> str:
        """Whose images it is for."""
        classes = [name for target in self.entry["targets"] for name in target.get("categories", ())]
        return self.entry["camera"] or ", ".join(classes) or self.entry["problem"]

    @property
    def series(self) -> dict[str, Any] | None:
        """Of a bundle for series of images: ``most`` images, and the ``settings`` that each has."""
        return self.entry.get("series")

    @property
    def has_likelihood(self) -> bool:
        """Whether its posteriors can be made exact by the likelihood of the problem."""
        return self.entry.get("has_likelihood", False)

    def misfit(self, channels: Channels) -> str:
        """Why an image of such channels cannot be used; empty if it can."""
        if self.error:
            return self.error
        if self.takes is not None:
            return ""  # of which `missing_input` knows more
        if self.series is not None:
            return self._misfit_of_series(channels)
        if channels.number != self.bands:
            return _("{name} needs an image of {wanted} channels ({device}); this one has {given}.").format(
                name=self.name,
                wanted=self.bands,
                device=self.device,
                given=channels.number,
            )
        return self._misfit_of_slices(channels.slices) if self.is_classifier else ""

    def _misfit_of_slices(self, slices: int) -> str:
        """Whether a classifier of pictures is asked for a volume, or the other way round."""
        size = self.entry.get("size", ())  # a former release of the package does not say
        is_of_volumes = len(size) == 3
        if not size or is_of_volumes == (slices > 1):
            return ""
        if is_of_volumes:
            return _("{name} needs a volume of several slices; this image has one.").format(name=self.name)
        text = _("{name} needs an image of one slice; this one has {slices}. Crop it to a slice.")
        return text.format(name=self.name, slices=slices)

    def _misfit_of_series(self, channels: Channels) -> str:
        missing = [name for name in self.series["settings"] if name not in channels.settings]
        if missing:
            text = _(
                "{name} needs {missing} of each image of a series; load the file with its JSON file under "
                "Other file."
            )
            return text.format(name=self.name, missing=", ".join(missing))
        if channels.number > self.series["most"]:
            text = _("{name} takes at most {most} images of a series; this one has {given}.")
            return text.format(name=self.name, most=self.series["most"], given=channels.number)
        return ""

    @property
    def validation(self) -> str:
        """How far its intervals have been tested, in one line."""
        if self.error:
            return _("cannot be used")
        if self.entry.get("classes"):
            return _class_line(self.entry["classes"])
        return calibration_line(self.entry["calibration"])

    def html(self) -> str:
        """The card in the panel: for whom, what comes out, how good, and where the whole card is."""
        if self.error:
            return f"<b>{_escaped(self.name)}</b><p>{_escaped(self.error)}</p>"
        rows = "".join(
            f"<tr><td>{_escaped(t['description'] or t['name'])}</td>"
            f"<td>{'' if t['unit'] == '1' else _escaped(t['unit'])}</td></tr>"
            for t in [*self.entry["targets"], *self.entry.get("derived", [])]
        )
        if self.takes is not None:
            wanted = _("It takes {files}.").format(files=_escaped(self.entry["files"]))
        elif self.series is None:
            wanted = f"{_('For images of')} {_escaped(self.device)}, {self.bands} {_('channels')}."
        else:
            text = _("For series of up to {most} images, each with {settings}.")
            wanted = text.format(most=self.series["most"], settings=", ".join(self.series["settings"]))
        return (
            f"<p>{_escaped(self.entry['description'])}</p>"
            f"<p>{wanted}</p>"
            f"<table cellspacing='4'>{rows}</table><p>{_escaped(self.validation)}</p>"
            f"<p>{_escaped(self.entry['intended_use'])}</p>"
        )


def calibration_line(measured: dict[str, Any] | None) -> str:
    """How far intervals have been tested, as a bundle or a result says it, in one line."""
    if not measured or not measured.get("errors"):
        return _("intervals not calibrated: never measured.")
    kind = _("recalibrated, ") if measured.get("recalibrated") else ""
    return _("intervals {kind}off by at most {worst:.1%} on {cases:,} simulations.").format(
        kind=kind, worst=max(measured["errors"].values()), cases=measured["simulations"]
    )


def _class_line(measured: dict[str, Any]) -> str:
    """How good the classes of held-out images were, in one line."""
    text = _(
        "{accuracy:.1%} of {cases:,} held-out images right; probabilities off by {error:.3f}, exact ones by "
        "up to {exact:.3f}."
    )
    figures = measured["figures"]
    return text.format(
        accuracy=figures["accuracy"]["value"],
        cases=measured["cases"],
        error=figures["expected calibration error"]["value"],
        exact=measured["calibration_error_if_exact"],
    )


def holds_bundles(folder: str) -> bool:
    """Whether a folder is a bundle or holds some; people type paths letter by letter."""
    place = Path(folder)
    return (place / _METADATA).is_file() or any(place.glob(f"*/{_METADATA}"))


def bundles_of(listing: dict[str, Any]) -> list[Bundle]:
    """Bundles of maps, classes and images; those of X-rays have a module of their own."""
    kinds = "maps", "classes", "images"
    return [Bundle(e) for e in listing["bundles"] if e.get("result", "maps") in kinds]


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
