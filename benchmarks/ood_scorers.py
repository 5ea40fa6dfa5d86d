"""The scores that the out-of-distribution benchmark compares, HIGH = out of distribution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monai_inn.metrics import typicality

__all__ = ["Scorer", "of_bundle", "of_features", "score"]

Scores = NDArray[np.float64]
Scorer = Callable[[torch.Tensor], Any]

_CHUNK = 4096
_NEIGHBOURS = 5
# The kernel machine's cost grows with the square of its training set.
_SVM_SPECTRA = 3000


def score(scorer: Scorer, y: Any) -> Scores:
    """Score observations ``(N, C)`` in chunks; shape ``(N,)``, float64."""
    rows = torch.as_tensor(y, dtype=torch.float32).split(_CHUNK)
    parts = [torch.as_tensor(scorer(chunk)).detach().cpu().double() for chunk in rows]
    return np.asarray(torch.cat(parts).numpy())


def of_bundle(posterior: Any, held_out: torch.Tensor) -> dict[str, Scorer]:
    """Return the scores that a fitted bundle gives.

    Args:
        posterior: offers ``waic(y)``, ``misfit(y)``, ``density_log_prob(y)`` (members first) and
            ``posterior_width(y)``.
        held_out: in-distribution observations ``(N, C)``, on which typicality takes its median.
    """
    median = float(np.median(score(posterior.waic, held_out)))
    return {
        "waic": posterior.waic,
        # As a whole; of a network that does not explain it is WAIC once more.
        "residual": lambda y: posterior.misfit(y)[..., :2][..., -1],
        "typicality": lambda y: typicality(torch.as_tensor(posterior.waic(y)), median),
        "single-flow nll": lambda y: -posterior.density_log_prob(y)[0],
        "ensemble nll": lambda y: -posterior.density_log_prob(y).mean(0),
        "posterior width": posterior.posterior_width,
    }


def of_features(features: Callable[[torch.Tensor], torch.Tensor], train: torch.Tensor) -> dict[str, Scorer]:
    """Return baselines fitted to the features of simulated training observations ``(N, C)``.

    Raises:
        ImportError: if scikit-learn is missing.
    """
    try:
        from sklearn.neighbors import NearestNeighbors
        from sklearn.svm import OneClassSVM
    except ImportError as error:
        raise ImportError('the baselines need scikit-learn: pip install "monai_inn[peers]"') from error

    x = features(train).double().numpy()
    mean, sd = x.mean(0), x.std(0)
    whitening = np.linalg.cholesky(np.linalg.inv(np.cov(x.T)))

    def standardised(y: torch.Tensor) -> Scores:
        return np.asarray((features(y).double().numpy() - mean) / sd)

    neighbours = NearestNeighbors(n_neighbors=_NEIGHBOURS, algorithm="brute").fit(standardised(train))
    machine = OneClassSVM(nu=0.05, gamma="scale").fit(standardised(train[:_SVM_SPECTRA]))
    return {
        "mahalanobis": lambda y: np.square((features(y).double().numpy() - mean) @ whitening).sum(1),
        "one-class svm": lambda y: -machine.decision_function(standardised(y)),
        "k-nn": lambda y: neighbours.kneighbors(standardised(y))[0][:, -1],
    }
