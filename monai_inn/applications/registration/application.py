"""What people see of 2D/3D registration: X-rays of one patient."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from monai_inn.fitted.configs import of_files
from monai_inn.problems.application import Application

__all__ = ["XrayApplication"]


class XrayApplication(Application):
    """The pose of a C-arm from an X-ray of the patient whose CT the problem holds."""

    result = "poses"
    modality = "X-ray"
    verb = "register"
    extras = ("bundle", "registration")
    references = (
        "Trofimova et al., Representing ambiguity in registration problems with conditional invertible "
        "neural networks, 2020",
    )
    task = "Posterior of the pose of a C-arm from one X-ray of the patient whose CT this is"
    description = (
        "Conditional normalizing flow for 2D/3D registration: for one X-ray the posterior of the "
        "pose with all its modes, and a score that tells whether the X-ray resembles those simulated of the "
        "CT."
    )
    data_source = (
        "Simulated X-rays of one CT. The bundle holds that CT's attenuation: handle it as you would the "
        "patient's images."
    )
    data_type = "simulated; X-rays of any format that monai_inn.applications.registration.read_xray reads"
    limits = (
        "For X-rays of the patient whose CT this is, at the distances and field of view of its detector.",
        "Simulated X-rays have no scatter and no beam hardening; what real ones have must be in the noise.",
        "Calibration holds on average over the prior, for images like the simulations.",
        "A trusted verdict does not prove a pose right; a pose outside the prior cannot come out.",
        "No evaluation on patients has been made.",
    )
    usage = (
        "monai-inn register . XRAY -o OUT",
        "python -m monai.bundle run --config_file configs/inference.json --meta_file configs/metadata.json "
        "--bundle_root . --dataset_dir XRAY --output_dir OUT",
    )

    def channel_text(self, name: str) -> str:
        """Return what a pixel is."""
        return "line integral of attenuation relative to the brightest, 1"

    def corruptions(self, y: Tensor) -> dict[str, Tensor]:
        """Return shuffled pixels, and X-rays changed in ways that happen."""
        from monai_inn.applications.registration.corruptions import spoilt

        return {**super().corruptions(y), **spoilt(y, self.problem.observation.size)}

    def evaluator(self) -> dict[str, Any]:
        """Return what ``inference.json`` runs for an X-ray."""
        return {
            "_target_": "monai_inn.applications.registration.results.registering.register_xray",
            "xrays": "@dataset_dir",
            "samples": 1000,
            "false_alarm": 0.05,
            "seed": 0,
        }

    def configs(self) -> dict[str, dict[str, Any]]:
        """Return ``train.json`` for the CT of another patient."""
        train = {
            "_target_": "monai_inn.applications.registration.PatientTrainer",
            "bundle": "@bundle_root",
            "ct": "@dataset_dir",
            "output": "@output_dir",
            "labels": "",
            "keep": [],
            "minutes": 20.0,
            "device": "@device",
            "seed": 0,
        }
        return {"train": of_files("retrained", {"trainer": train, "run": ["$@trainer.run()"]})}
