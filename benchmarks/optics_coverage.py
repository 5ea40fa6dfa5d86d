"""Does the prior of the optical simulation cover real tissue? Measured spectra, nearest simulations."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monai_inn.applications.oximetry.problem import Oximetry
from monai_inn.physics import tissue_spectra
from monai_inn.physics.cameras import Camera

__all__ = ["organs", "skin"]

TABLES = ("pig_organs", "human_rat_organs", "pig_kidney_states")


def unit_sum(spectra: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spectra divided by their sums."""
    return spectra / spectra.sum(-1, keepdims=True)


def organs(count: int, seed: int) -> dict[str, Any]:
    """Nearest simulations of measured organ spectra: L1 distance of spectra with unit sum, noise-free."""
    problem = Oximetry("tivita")
    theta, y = problem.simulate_clean(count, seed=seed)
    sao2, simulated = theta[:, 0].numpy(), y.numpy()
    nominal = 500 + np.arange(100) * 500 / 99
    rows = []
    for table in TABLES:
        wavelength, spectra = tissue_spectra.load(table)
        # Two of the three tables are on the nominal axis of the camera, one is 2.5 nm off.
        left = np.clip(np.searchsorted(nominal, wavelength, side="right") - 1, 0, 98)
        share = np.clip((wavelength - nominal[left]) / (nominal[left + 1] - nominal[left]), 0, 1)
        compared = unit_sum(
            (simulated[:, left] * (1 - share) + simulated[:, left + 1] * share).astype(np.float32)
        )
        for label, (mean, _) in spectra.items():
            distance = abs(compared - unit_sum(mean).astype(np.float32)).sum(1)
            near = np.argpartition(distance, 50)[:50]
            rows.append(
                {"tissue": label, "distance": float(distance.min()), "sao2_of_50": float(sao2[near].mean())}
            )
    rows.sort(key=lambda row: row["distance"])
    distance = np.array([row["distance"] for row in rows])
    by_label = {row["tissue"]: row for row in rows}
    healthy, clamped = by_label["pig kidney_physiological"], by_label["pig kidney_malperfused"]
    return {
        "simulations": count,
        "median": float(np.median(distance)),
        "percentile_90": float(np.quantile(distance, 0.9)),
        "share_below_0.05": float((distance < 0.05).mean()),
        "kidney_sao2_physiological": healthy["sao2_of_50"],
        "kidney_sao2_malperfused": clamped["sao2_of_50"],
        "icg_rank_from_worst": len(rows) - [row["tissue"] for row in rows].index("pig kidney_icg"),
        "of": len(rows),
        "spectra": rows,
    }


def skin(count: int, seed: int) -> dict[str, float]:
    """Root-mean-square distance of 50 measured skin reflectances, absolute, to the nearest simulation."""
    wavelength, subjects = tissue_spectra.subjects()
    keep = (wavelength >= 450) & (wavelength <= 1000)
    measured = np.stack(list(subjects.values()))[:, keep]
    # The spectrometer is broad next to 3 nm; only every third value is compared.
    problem = Oximetry(Camera.from_centres(wavelength[keep][::3], 9.0, name="spectrometer"), tissue="skin")
    theta, y = problem.simulate_clean(count, seed=seed)
    n = theta[:, problem.space.index("n")].double().numpy()[:, None]
    simulated = y.double().numpy() + ((n - 1) / (n + 1)) ** 2
    best = np.array([np.sqrt(((simulated - row) ** 2).mean(1)).min() for row in measured[:, ::3]])
    relative = best / measured.mean(1)
    nearest = np.array([((simulated - row) ** 2).mean(1).argmin() for row in measured[:, ::3]])
    refined = refine(problem, theta[nearest], measured[:, ::3], seed)
    return {
        "simulations": count,
        "rms_median": float(np.median(best)),
        "rms_max": float(best.max()),
        "rms_refined_median": float(np.median(refined)),
        "rms_refined_max": float(refined.max()),
        "relative_median": float(np.median(relative)),
        "relative_max": float(relative.max()),
    }


def refine(
    problem: Oximetry,
    theta: torch.Tensor,
    measured: NDArray[np.float64],
    seed: int,
    rounds: int = 30,
    tries: int = 30,
) -> NDArray[np.float64]:
    """Distances after a random search around the nearest simulations, inside the prior.

    The nearest of many simulations says how densely a prior with 13 parameters was sampled; this says how
    well the model can describe a spectrum.
    """
    generator = torch.Generator().manual_seed(seed)
    latent = problem.space.to_latent(theta.double())
    best = np.full(len(measured), np.inf)
    for k in range(rounds):
        step = (
            0.5
            * 0.9**k
            * torch.randn(len(latent), tries, latent.shape[1], generator=generator, dtype=torch.float64)
        )
        tried = (latent[:, None] + step).clamp(-4, 4)
        physical = problem.space.inverse(tried)
        index = physical[..., -1:].numpy()
        simulated = problem.forward(physical).double().numpy() + ((index - 1) / (index + 1)) ** 2
        distance = np.sqrt(((simulated - measured[:, None]) ** 2).mean(-1))
        improved = distance.min(1) < best
        chosen = torch.from_numpy(distance.argmin(1))
        rows = torch.arange(len(latent))
        latent = torch.where(torch.from_numpy(improved)[:, None], tried[rows, chosen], latent)
        best = np.minimum(best, distance.min(1))
    return best
