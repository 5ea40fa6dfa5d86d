"""A patient made ready for X-rays: what does not depend on them, kept in a folder.

A CT is resampled for each size of the X-ray, and simulated radiographs over the prior are made once for a
detector. Both take seconds that an operation need not wait for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_inn.applications.registration.carm import Detector
from monai_inn.applications.registration.patient import in_order, read_patient, settings_before, wide_ranges
from monai_inn.applications.registration.poses.fit import Unknowns
from monai_inn.applications.registration.poses.search import Bank
from monai_inn.applications.registration.poses.solver import Solver
from monai_inn.applications.registration.problem import PoseRegistration
from monai_inn.applications.registration.projection import AttenuationVolume
from monai_inn.applications.registration.raycasting import RayCaster
from monai_inn.applications.registration.results.schema import PATIENT, PATIENT_RECORD
from monai_inn.files import BadFileError, require_file, write_json
from monai_inn.fitted.layout import sha256
from monai_inn.fitted.metadata import INTENDED_USE
from monai_inn.folders import new_folder
from monai_inn.reports.records import made_with
from monai_inn.reports.schemas import FORMAT_VERSION, read_record

__all__ = ["Patient", "prepare_patient"]

_TENSORS = "patient.safetensors"
_AGAIN = "prepare the patient again: monai-inn prepare CT --like XRAY -o FOLDER"


class Patient:
    """A CT, what is unknown of a pose before it, and what was computed for X-rays of it.

    Args:
        ct: voxels in HU.
        keep: voxels that are compared; all by default.
        free: ranges of the pose parameters to find.
        fixed: values of others.
        target: point that angles turn about, RAS in mm; the centre of the bone by default.
        source: name, path and checksum of the CT's file.

    Attributes:
        prepared: a detector that a folder was prepared for; None straight from files.
    """

    def __init__(
        self,
        ct: AttenuationVolume,
        keep: Tensor | None,
        free: Mapping[str, Sequence[float]],
        fixed: Mapping[str, float],
        target: Sequence[float] | None,
        source: Mapping[str, Any],
    ) -> None:
        self.ct, self.keep, self.source = ct, keep, dict(source)
        self.free, self.fixed = dict(free), dict(fixed)
        self._target = target
        self.prepared: Detector | None = None
        self._solver: Solver | None = None

    @classmethod
    def of_files(
        cls,
        ct: str | PathLike[str],
        *,
        labels: str | PathLike[str] | None = None,
        keep: Sequence[int] = (),
        free: Mapping[str, Sequence[float]] | None = None,
        fixed: Mapping[str, float] | None = None,
        target: Sequence[float] | None = None,
    ) -> Patient:
        """Return a patient from the file of a CT; arguments as of ``results.from_ct.register_to_ct``."""
        hounsfield, mask = read_patient(ct, labels, keep)
        free = wide_ranges(fixed or {}) if free is None else free
        source = {"name": Path(ct).name, "path": str(Path(ct).resolve()), "sha256": sha256(Path(ct))}
        return cls(hounsfield, mask, in_order(free), fixed or {}, target, source)

    def problem(self, detector: Detector) -> PoseRegistration:
        """Return the registration before a detector."""
        before = settings_before(self.ct, self.keep, detector)
        return PoseRegistration(
            **before, free=self.free, fixed=self.fixed, target=self._target, brightest=1.0
        )

    def unknowns(
        self, about: Mapping[str, Sequence[float]] | None = None, source_sd: float = 0.0
    ) -> Unknowns:
        """Return priors of the pose and of the source's place, as of ``Unknowns.of``."""
        return Unknowns.of(self.free, self.fixed, about, source_sd)

    def solver(self, target: Tensor) -> Solver:
        """Return what finds poses about a target, RAS in mm; it keeps what it has computed."""
        if self._solver is None:
            self._target = target.tolist()
            self._solver = Solver(self.ct, target, self.unknowns(), self.keep)
        return self._solver

    def described(self) -> dict[str, Any]:
        """Return what stands in the place of a bundle in a record."""
        name, path, digest = (self.source[key] for key in ("name", "path", "sha256"))
        return {"name": f"CT {name}", "path": path, "sha256": {name: digest}}

    def save(self, folder: Path) -> None:
        """Write the tensors into a folder."""
        from safetensors.torch import save_file

        solver = self._solver
        assert solver is not None
        tensors = {
            "hounsfield": self.ct.values.round().clamp(-32768, 32767).short(),
            "affine": self.ct.affine,
        }
        if self.keep is not None:
            tensors["keep"] = self.keep
        for number, caster in enumerate(solver.casters.values()):
            tensors |= {f"rays_{number}.{name}": value for name, value in caster.tensors().items()}
        for number, bank in enumerate(solver.banks.values()):
            parts = {"pose": bank.pose, "edges": bank.edges.half(), "sharpest": torch.tensor(bank.sharpest)}
            tensors |= {f"bank_{number}.{name}": value for name, value in parts.items()}
        save_file({name: t.contiguous() for name, t in tensors.items()}, folder / _TENSORS)

    def to_config(self) -> dict[str, Any]:
        """Return all but the tensors."""
        solver = self._solver
        assert solver is not None
        return {
            "ct": self.source,
            "free": {name: list(edges) for name, edges in self.free.items()},
            "fixed": self.fixed,
            "target_ras_mm": self._target,
            "detectors": [detector.to_config() for detector in solver.casters],
            "banks": [
                detector.to_config() | {"goes_on": goes_on, "margin": bank.margin}
                for (detector, goes_on), bank in solver.banks.items()
            ],
        }

    @classmethod
    def load(cls, folder: str | PathLike[str]) -> Patient:
        """Return a patient from what ``prepare_patient`` wrote.

        Raises:
            FileNotFoundError: if a file is missing.
            BadFileError: if one is damaged, or of another version.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        told = read_record(Path(folder), PATIENT, PATIENT_RECORD, "monai-inn prepare")
        path = require_file(Path(folder) / _TENSORS, "the voxels of a patient that `prepare` wrote")
        try:
            tensors = load_file(path)
            if told["sha256"] != {_TENSORS: sha256(path)}:
                raise ValueError("it is not the one that was written")
            ct = AttenuationVolume(tensors["hounsfield"].float(), tensors["affine"])
            patient = cls(
                ct, tensors.get("keep"), told["free"], told["fixed"], told["target_ras_mm"], told["ct"]
            )
            target = torch.tensor(told["target_ras_mm"], dtype=torch.float64)
            solver = patient.solver(target)
            for number, config in enumerate(told["detectors"]):
                detector = Detector(**config)
                own = _named(tensors, f"rays_{number}.")
                solver.casters[detector] = RayCaster.of_tensors(own, detector, target)
                patient.prepared = detector
            for number, config in enumerate(told["banks"]):
                own = _named(tensors, f"bank_{number}.")
                goes_on, margin = config.pop("goes_on"), tuple(config.pop("margin"))
                detector = Detector(**config)
                edges, sharpest = own["edges"].float(), tuple(own["sharpest"].tolist())
                solver.banks[detector, goes_on] = Bank(own["pose"], edges, sharpest, margin, detector)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise BadFileError(
                f"{path.parent}: is damaged or of another version ({error}); {_AGAIN}."
            ) from error
        return patient


def _named(tensors: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def prepare_patient(
    ct: str | PathLike[str],
    out: str | PathLike[str],
    detectors: Sequence[Detector],
    *,
    progress: Callable[[float], None] = lambda share: None,
    **options: Any,
) -> dict[str, Any]:
    """Compute what registration to a CT needs before there is an X-ray, and write it into a folder.

    Args:
        ct: CT in Hounsfield units.
        out: folder to write; ``register`` takes it in the place of the CT.
        detectors: the C-arm, with images of each size, coarse to fine.
        progress: called with the share done.
        options: see ``Patient.of_files``.

    Returns:
        The content of ``patient.json``.

    Raises:
        ValueError: if the CT or an argument is not usable.
        OSError: if a file cannot be read or written.
    """
    with new_folder(out, PATIENT, "a prepared patient", (_TENSORS,)) as draft:
        patient = Patient.of_files(ct, **options)
        target = patient.problem(detectors[-1]).target
        patient.solver(target).prepare(detectors, progress)
        patient.save(draft)
        record: dict[str, Any] = {"format_version": FORMAT_VERSION, "command": "prepare"}
        record |= made_with({}) | {"intended_use": INTENDED_USE} | patient.to_config()
        record |= {"sha256": {_TENSORS: sha256(draft / _TENSORS)}, "files": [{"file": _TENSORS}]}
        write_json(draft / PATIENT, record)
    return record
