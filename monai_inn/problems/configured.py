"""A problem as something with arguments: made of options or a config, and told from every other."""

from __future__ import annotations

import abc
import argparse
import hashlib
import inspect
import json
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Configured", "checksum"]


class Configured(abc.ABC):
    """How a problem is made, and what tells it from every other."""

    name: ClassVar[str]

    @classmethod  # noqa: B027 -- most have no options
    def add_options(cls, parser: argparse._ActionsContainer) -> None:
        """Add what ``monai-inn fit`` and ``simulate`` may be told about this problem; nothing here."""

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Self:
        """Return the problem that the options of ``add_options`` describe.

        Raises:
            ValueError: if an option is not usable, or the problem needs arguments that no option gives.
        """
        cls.require(())
        return cls()

    @classmethod
    def needs(cls) -> list[str]:
        """Return the arguments without which the problem cannot be made."""
        arguments = inspect.signature(cls).parameters.values()
        return [
            a.name
            for a in arguments
            if a.default is a.empty and a.kind not in (a.VAR_POSITIONAL, a.VAR_KEYWORD)
        ]

    @classmethod
    def require(cls, given: Container[str]) -> None:
        """Raise a ``ValueError`` if an argument without which the problem cannot be made is not given."""
        if missing := [name for name in cls.needs() if name not in given]:
            call = f"monai_inn.problems.create({cls.name!r}, {', '.join(f'{name}=…' for name in missing)})"
            raise ValueError(f"the problem {cls.name!r} needs {', '.join(missing)}; in Python: {call}.")

    @classmethod
    def of_device(cls, spec: str) -> Self:
        """Return the problem as a device measures it, for comparisons of devices.

        Args:
            spec: a name or file and settings, see ``devices.settings_of``.

        Raises:
            ValueError: if there is no such device, or the problem has none.
        """
        raise ValueError(
            f"the problem {cls.name!r} has no devices to compare; a problem offers them by its of_device."
        )

    @classmethod
    def choices(cls) -> dict[str, list[str]]:
        """Return what the problem can be made for, such as names of devices, by what they are; for lists."""
        return {}

    def to_config(self) -> dict[str, Any]:
        """Return keyword arguments, JSON-ready; with ``tensors`` the class makes an equal problem of them.

        Here they are the attributes of the same names, tensors and tuples as lists.

        Raises:
            ValueError: if an argument is not kept as such an attribute.
        """
        names = inspect.signature(type(self)).parameters
        if lost := [name for name in names if not hasattr(self, name)]:
            raise ValueError(
                f"{type(self).__name__} has no attribute {lost[0]!r}, which its constructor takes; keep the "
                "argument under this name, or write to_config."
            )
        kept = {name: getattr(self, name) for name in names}
        lists = {name: value.tolist() for name, value in kept.items() if isinstance(value, Tensor)}
        return kept | lists | {name: list(value) for name, value in kept.items() if isinstance(value, tuple)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return the problem of ``to_config`` and ``tensors``, of this or a former release."""
        return cls(**config)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Further keyword arguments that are too large for JSON; a bundle keeps them beside the weights."""
        return {}

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this problem from every other: name, arguments, checksums of ``tensors``; JSON-ready."""
        sums = {name: checksum(value) for name, value in self.tensors.items()}
        own = {"name": self.name, "config": self.to_config()} | ({"tensors": sums} if sums else {})
        return json.loads(json.dumps(own))  # type: ignore[no-any-return]


def checksum(values: Tensor) -> str:
    """Return the SHA-256 of a tensor's values."""
    return hashlib.sha256(values.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
