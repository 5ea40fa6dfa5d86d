"""Where a usual fit of a pixel ends at a bound: beside posteriors, what people know from other programs."""

from __future__ import annotations

import torch
from torch import Tensor

from monai_inn.problems import InverseProblem

__all__ = ["bounds_of_usual_fit", "require_usual_fit"]


@torch.no_grad()
def bounds_of_usual_fit(problem: InverseProblem, image: Tensor, valid: Tensor, most: int) -> Tensor:
    """Return 1 where the usual fit ends with a parameter at a bound, 0 where it does not.

    Args:
        problem: the inverse problem; its application knows the fit, see ``Application.usual_fit``.
        image: shape ``(C, *spatial)``.
        valid: pixels that can be inferred, boolean, ``(*spatial)``.
        most: pixels that are fitted at most, evenly spread over the valid ones.

    Returns:
        Shape ``(1, *spatial)``, NaN where nothing was fitted.

    Raises:
        ValueError: see ``require_usual_fit``.
    """
    require_usual_fit(problem, most)
    places = valid.flatten().nonzero().squeeze(1)
    places = places[:: max(1, -(-len(places) // most))]
    found = torch.full((valid.numel(),), torch.nan)
    if len(places):
        rows = image.as_subclass(Tensor).flatten(1)[:, places].T
        found[places] = problem.application.ends_at_bound(rows).float()
    return found.view(1, *valid.shape)


def require_usual_fit(problem: InverseProblem, most: int) -> None:
    """Refuse what cannot be fitted before anything is computed.

    Raises:
        ValueError: if there is no such fit, or the number is not positive.
    """
    if most < 1:
        raise ValueError(f"usual_fit = {most}; give the number of pixels to fit, or 0 for none.")
    if not problem.application.usual_fit:
        raise ValueError(
            f"the problem {problem.name!r} has no usual fit to compare with; leave out usual_fit."
        )
