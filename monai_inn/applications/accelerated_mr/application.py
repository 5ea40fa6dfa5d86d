"""What people see of accelerated MR, and what its test of trust is tried on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from monai_inn.problems.application import Application

__all__ = ["MRApplication"]

_DAMAGED = 0.3  # of the frequencies, from the largest on


class MRApplication(Application):
    """Whole images of undersampled k-space."""

    modality = "MR"
    task = "Posterior of images, given undersampled k-space"
    verb = "reconstruct"
    noise_sd = (
        "Standard deviation of the noise of an image of low resolution, in its unit; 2 % of white if it is "
        "not given. K-space tells its own."
    )
    result = "images"
    data_source = "Simulated acquisitions of patients' images, mirrored, shifted, brighter and darker."
    data_type = (
        "Cartesian k-space of one or more coils, ISMRMRD or NPZ; or images of half the resolution, NIfTI"
    )
    usage = ("monai-inn reconstruct . KSPACE -o OUT",)
    limits = (
        "Calibration holds on average over images and acquisitions like those of the training.",
        "Smooth phase is part of the sensitivities; an image whose phase varies fast is outside the model.",
        "It sees the resolution of its training; finer detail is cut off.",
    )
    unexplained = "k-space with more or less power than any image of the training has"
    references = (
        "Pruessmann et al., Advances in sensitivity encoding with arbitrary k-space trajectories, 2001",
    )
    warnings = (
        "Learned from images of few people: the posterior of another anatomy or contrast is not proven.",
    )

    def evaluator(self) -> dict[str, Any]:
        """Return what ``inference.json`` runs for a file of k-space."""
        return {
            "_target_": "monai_inn.applications.accelerated_mr.reconstruction.reconstruct",
            "kspace": "@dataset_dir",
            "samples": 64,
            "seed": 0,
        }

    def corruptions(self, y: Tensor) -> dict[str, Tensor]:
        """Return k-space ten times too strong, and one with more noise at its outer frequencies."""
        number = self.problem.observation.num_values
        values, context = y[:, :number], y[:, number:]
        reach = torch.stack(
            torch.meshgrid(
                *(torch.fft.fftfreq(n).abs() for n in self.problem.observation.size), indexing="ij"
            )
        ).amax(0)
        is_outer = (reach > 0.5 * (1 - _DAMAGED)).flatten().repeat_interleave(number // reach.numel())
        white = torch.randn(values.shape, generator=torch.Generator().manual_seed(0))
        noisy = values + is_outer * 3 * context[:, -1:] * white
        return {
            "ten_times_stronger": torch.cat([10 * values, context], 1),
            "noisy_edge_of_kspace": torch.cat([noisy, context], 1),
        }
