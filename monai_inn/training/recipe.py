"""How much of everything a training has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Recipe"]


@dataclass(frozen=True)
class Recipe:
    """How much of everything.

    Args:
        num_simulations: noise-free simulations in the training pool.
        posterior_steps: steps of encoder and posterior flow.
        density_steps: steps of the density ensemble.
        preview_steps: steps of the preview head.
        preview_observations: observations whose flow quantiles the preview learns.
        batch_size: simulations in a step.
        rate: peak learning rate of up to 1,500 steps; longer trainings take less, ∝ steps^−0.4.
        density_smoothing: noise on the whitened features of the density, in their standard deviations.
        measured: fresh simulations on which the result is measured.
        held_out: simulations on which the loss is evaluated.
        guard: simulations whose scores set the thresholds of trust.
        templates: images of known parameters that an image is compared with, at most.
        explanation_steps: steps of the explanation; 0 for as many as of the density.
        start_rows: rows that a start in closed form may take; 0 for what the pool gives with fresh noise.
            What goes beyond that is simulated for it and not kept.
    """

    num_simulations: int = 200_000
    posterior_steps: int = 20_000
    density_steps: int = 6_000
    preview_steps: int = 4_000
    preview_observations: int = 30_000
    batch_size: int = 1024
    rate: float = 6e-3
    density_smoothing: float = 1.0
    measured: int = 4_000
    held_out: int = 8_192
    guard: int = 4_000
    templates: int = 4_096
    explanation_steps: int = 0
    start_rows: int = 0

    def __post_init__(self) -> None:
        if not self.explanation_steps:
            object.__setattr__(self, "explanation_steps", self.density_steps)

    @classmethod
    def from_config(cls, config: Mapping[str, float]) -> Recipe:
        """Return the recipe of a checkpoint.

        Raises:
            TypeError: if a field is unknown.
            ValueError: if a value is not a number above zero.
        """
        wrong = [n for n, value in config.items() if type(value) not in (int, float) or not 0 < value < 2**31]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} must be positive numbers")
        return cls(**config)  # type: ignore[arg-type]

    def peak_rate(self, steps: int) -> float:
        """Learning rate of a stage: the longer it is, the more of its noise must be averaged out."""
        return self.rate * min(1.0, (1500 / steps) ** 0.4)
