"""Posteriors over poses by importance sampling: of several X-rays, or by the likelihood itself."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from monai_inn.applications.registration.poses import inference
from monai_inn.applications.registration.problem import PoseRegistration
from monai_inn.fitted import FittedPosterior
from monai_inn.inferers.likelihood.reweighting import LEAST_EFFECTIVE, weigh_posteriors
from monai_inn.inferers.summaries import shared_latents
from monai_inn.metrics.modes import find_modes

__all__ = ["LEAST_INSIDE", "NotWeighedError", "Reweighted", "reconcile", "reweight"]

LEAST_INSIDE = 0.95
"""Share of the plausible poses that must stay inside the prior when the C-arm turns."""


class NotWeighedError(ValueError):
    """The posterior of an X-ray cannot be weighed; it stands as it was."""


class Reweighted(NamedTuple):
    """A posterior by the likelihood itself.

    Attributes:
        posterior: exact but for the number of draws.
        effective: how many draws count.
        proposals: number of draws.
        log_evidence: log of the prior mean of the likelihood, nats, up to a constant of the noise.
        kl: KL divergence of the network's posterior from the exact one, nats; too small if few draws count.
    """

    posterior: inference.PosePosterior
    effective: float
    proposals: int
    log_evidence: float
    kl: float


def reweight(fitted: FittedPosterior, observation: Tensor, samples: int = 1000, seed: int = 0) -> Reweighted:
    """Return the posterior of one X-ray by the likelihood, with the network's posterior as the proposal.

    Adaptive importance sampling in the latent space of the flow, where the network's posterior is a standard
    normal: its draws are weighed by prior · likelihood / density; further rounds are drawn from a normal of
    the weighted mean and covariance, until as many draws count as are wanted. What training has left undone
    is made good, at the cost of a simulated X-ray a draw; what is wrong with the noise model is not.

    Args:
        fitted: posterior of a ``PoseRegistration``.
        observation: one image, shape ``(C,)``.
        samples: number of posterior samples.
        seed: seed of the draws.

    Raises:
        NotWeighedError: if fewer than 100 draws count in the end.
        ValueError: as for ``infer_pose``.
    """
    problem = inference.registration_problem(fitted)
    inference.check_xray(problem, observation)
    (found,) = weigh_posteriors(fitted, observation.unsqueeze(0), samples, seed)
    ratio, joint, theta = found.columns
    if found.effective < LEAST_EFFECTIVE:
        raise NotWeighedError(
            f"the likelihood counts {found.effective:.0f} of {len(theta):,} poses, {LEAST_EFFECTIVE} are "
            "needed: the X-ray is unlike the simulated ones, or the bundle was trained too briefly."
        )
    posterior = _resampled(problem, theta, joint - found.log_evidence, found.share, samples, seed)
    kl = float(found.share @ ratio) - found.log_evidence
    return Reweighted(posterior, found.effective, len(theta), found.log_evidence, kl)


def reconcile(
    fitted: FittedPosterior, observations: Tensor, motions: Tensor, samples: int = 4000, seed: int = 0
) -> inference.PosePosterior:
    """Return the posterior of the first of several X-rays of a patient who has kept still.

    Given the patient's pose the images are independent, so that every further X-ray multiplies the posterior
    by its own over the prior, at the pose that the first one's samples imply for it.

    Args:
        fitted: posterior of a ``PoseRegistration``.
        observations: images, shape ``(V, C)``.
        motions: from the coordinates of each camera to those of the first, shape ``(V, 4, 4)``, see
            ``carm.gantry_motion``; the first is the identity.
        samples: samples of the first posterior.
        seed: their seed.

    Returns:
        As many poses of the first X-ray, drawn by weight.

    Raises:
        NotWeighedError: if the poses of the first X-ray explain the others worse than poses drawn at random
            do, fewer than one in a hundred samples explains all the X-rays, or the motions take one in twenty
            out of the prior, where the network knows nothing.
    """
    problem = inference.registration_problem(fitted)
    latents = shared_latents(samples, len(problem.parameters), seed)
    drawn, log_density = inference.draw_poses(fitted, observations[0], latents)
    cameras, weight = problem.cameras(drawn.double()), torch.zeros(samples)
    for image, motion in zip(observations[1:], motions[1:], strict=True):
        theta = problem.parameters_of(cameras @ motion.double()).float()
        inside = float(problem.space.contains(theta).float().mean())
        if inside < LEAST_INSIDE:
            raise NotWeighedError(
                f"turned like this, {1 - inside:.0%} of the plausible poses are outside the bundle's prior; "
                "turn less, or fit a bundle with a wider --range."
            )
        with torch.no_grad():
            density = fitted.posterior(image).log_prob(theta.to(fitted.device)).cpu()
        weight += density - problem.prior.log_prob(theta).nan_to_num(neginf=0.0)
    # The mean weight is p(others | first) / p(others). Over X-rays that belong together its inverse is one on
    # average, so that it is seldom small.
    weight = weight.double()
    share = torch.softmax(weight, 0)
    is_joined = weight.exp().mean() >= 1 and 1 / share.square().sum() >= samples / 100
    if not is_joined:  # comparisons with NaN are false
        raise NotWeighedError(
            "no pose explains all the X-rays; check the angles between them, and that the patient kept still."
        )
    return _resampled(problem, drawn, log_density + weight, share, samples, seed)


def _resampled(
    problem: PoseRegistration, drawn: Tensor, log_density: Tensor, share: Tensor, samples: int, seed: int
) -> inference.PosePosterior:
    """Draw poses by their shares; their modes are found without the densities, for some come twice."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.multinomial(share, samples, replacement=True, generator=generator)
    kept = drawn[chosen]
    return inference.PosePosterior(kept, log_density[chosen], find_modes(kept, inference.pose_space(problem)))
