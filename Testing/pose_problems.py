"""A small registration that is fitted in seconds, and the exact posterior in the place of a network."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from monai_inn.applications.registration.carm import Detector
    from monai_inn.fitted import FittedPosterior

SMALL = {"rows": 16, "columns": 16, "spacing_mm": 12.75}
TEMPLATES = 1024
SMALL_NETWORK = {
    "encoder": {"components": 40, "out_channels": 32, "width": 64, "num_blocks": 1},
    "flow": {"hidden_channels": (32, 32)},
    "density": {"members": 3, "hidden_channels": (16,)},
    "num_ood_scores": 1000,
}


def small_fit() -> FittedPosterior:
    """A posterior over lao and cra that has learned something, in about half a minute."""
    from monai_inn.problems import PoseRegistration
    from monai_inn.training import Recipe, fit

    problem = PoseRegistration(detector=SMALL, noise={"sd": 0.1})
    sizes = {"batch_size": 512, "measured": 500, "held_out": 1024, "templates": TEMPLATES}
    recipe = Recipe(8192, 250, 100, density_smoothing=0.3, **sizes)
    return fit(problem, recipe=recipe, network=SMALL_NETWORK, seed=0)


class ExactPosterior:
    """What ``infer_pose`` and ``reconcile`` ask of a fitted posterior, answered by the grid."""

    def __init__(self, problem) -> None:
        self.problem, self.device = problem, torch.device("cpu")

    def posterior(self, y):
        reference = self.problem.reference_posterior(y)

        def push(latents):
            return self.problem.space.to_latent(reference.sample((len(latents),))).unsqueeze(1)

        def push_with_log_prob(latents):
            samples = reference.sample((len(latents),))
            return samples, reference.log_prob(samples)

        return SimpleNamespace(
            batch_shape=y.shape[:-1],
            base=SimpleNamespace(push=push),
            push_with_log_prob=push_with_log_prob,
            log_prob=reference.log_prob,
        )


def symmetric_posterior() -> ExactPosterior:
    """Parallel rays through a symmetric spine: every X-ray has two poses."""
    from monai_inn.problems import PoseRegistration

    detector = {**SMALL, "spacing_mm": 10.6, "beam": "parallel"}
    return ExactPosterior(PoseRegistration(detector=detector, noise={"sd": 0.05}))


def xray(problem, *angles, seed=0):
    """An X-ray with noise, as a row of pixels."""
    theta = torch.tensor([angles])
    return problem.noise(problem.forward(theta), torch.Generator().manual_seed(seed))[0]


def project_points(points: Tensor, camera: Tensor, detector: Detector) -> Tensor:
    """Return where points appear in the image.

    Args:
        points: RAS in mm, shape ``(K, 3)``.
        camera: poses from camera to world, shape ``(…, 4, 4)``.
        detector: image size, distances, beam and view.

    Returns:
        Column and row in pixels, whole numbers at the centres of pixels, shape ``(…, K, 2)``.
    """
    rotation, source = camera[..., :3, :3], camera[..., :3, 3]
    at = (points.to(camera) - source.unsqueeze(-2)) @ rotation
    on_detector = at[..., :2]
    if detector.beam == "cone":
        on_detector = on_detector * detector.source_detector_mm / at[..., 2:]
    side = on_detector.new_tensor([detector.handedness, 1.0])
    middle = on_detector.new_tensor([detector.columns / 2 - 0.5, detector.rows / 2 - 0.5])
    return side * on_detector / detector.spacing_mm + middle
