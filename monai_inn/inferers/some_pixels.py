"""Maps of what is too slow for all pixels: some of them, evenly spread, are asked."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from monai_inn.inferers.likelihood.evidence import require_rivals
from monai_inn.problems import InverseProblem

__all__ = ["map_of_some", "require_answers_of_some"]


@torch.no_grad()
def map_of_some(
    answer: Callable[[Tensor], Tensor], channels: int, image: Tensor, valid: Tensor, most: int
) -> Tensor:
    """Return what ``answer`` gives for some pixels.

    Args:
        answer: from observations ``(n, C)`` to columns ``(n, K)``.
        channels: their number ``K``.
        image: shape ``(C, *spatial)``.
        valid: pixels that can be inferred, boolean, ``(*spatial)``.
        most: pixels that are asked at most, evenly spread over the valid ones.

    Returns:
        Shape ``(K, *spatial)``, NaN where nothing was asked.
    """
    places = valid.as_subclass(Tensor).flatten().nonzero().squeeze(1)
    places = places[:: max(1, -(-len(places) // most))]
    columns = torch.full((channels, valid.numel()), torch.nan)
    if len(places):
        columns[:, places] = answer(image.as_subclass(Tensor).flatten(1)[:, places].T).float().T
    return columns.view(-1, *valid.shape)


def require_answers_of_some(problem: InverseProblem, usual_fit: int, evidence: int) -> None:
    """Refuse what cannot be asked before anything is computed.

    Args:
        problem: the inverse problem.
        usual_fit: pixels that shall be fitted as other programs do, see ``Application.usual_fit``.
        evidence: pixels whose models shall be weighed, see ``evidence.model_probability``.

    Raises:
        ValueError: if the problem knows no such fit or models, or a number is negative.
    """
    for name, number in (("usual_fit", usual_fit), ("evidence", evidence)):
        if number < 0:
            raise ValueError(f"{name} = {number}; give the number of pixels, or 0 for none.")
    if usual_fit and not problem.application.usual_fit:
        raise ValueError(
            f"the problem {problem.name!r} has no usual fit to compare with; leave out usual_fit."
        )
    if evidence:
        require_rivals(problem)
