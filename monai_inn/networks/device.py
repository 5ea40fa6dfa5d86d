"""Where tensors are computed."""

from __future__ import annotations

import torch

__all__ = ["device_of"]


def device_of(name: str | torch.device) -> torch.device:
    """Return the device that a name stands for; ``auto`` is a GPU where this process finds one.

    Raises:
        ValueError: if torch knows no such device.
        RuntimeError: if it is a GPU and torch finds none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device {name!r} is unknown; give cpu, cuda or auto.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(
            f'device "{name}" was asked for, but torch finds no CUDA GPU; use device="cpu" (--device cpu).'
        )
    return device
