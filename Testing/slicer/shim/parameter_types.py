"""What may stand inside the `Annotated[...]` of a parameter, and the range type of two numbers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "FloatRange",
    "Maximum",
    "Minimum",
    "RangeBounds",
    "SingleStep",
    "WithinRange",
]


@dataclass(frozen=True)
class Default:
    value: Any


@dataclass(frozen=True)
class Decimals:
    value: int


@dataclass(frozen=True)
class SingleStep:
    value: float


def _require(fine: bool, value: object, rule: object) -> None:
    if not fine:
        raise ValueError(f"{value!r} does not satisfy {rule}")


@dataclass(frozen=True)
class WithinRange:
    minimum: float
    maximum: float

    def validate(self, value: float) -> None:
        _require(self.minimum <= value <= self.maximum, value, self)


@dataclass(frozen=True)
class Minimum:
    minimum: float

    def validate(self, value: float) -> None:
        _require(value >= self.minimum, value, self)


@dataclass(frozen=True)
class Maximum:
    maximum: float

    def validate(self, value: float) -> None:
        _require(value <= self.maximum, value, self)


@dataclass(frozen=True)
class Choice:
    choices: Collection

    def validate(self, value: object) -> None:
        _require(value in self.choices, value, self)


@dataclass(frozen=True)
class FloatRange:
    minimum: float = 0.0
    maximum: float = 0.0


@dataclass(frozen=True)
class RangeBounds:
    minimum: float
    maximum: float

    def validate(self, value: FloatRange) -> None:
        _require(self.minimum <= value.minimum <= value.maximum <= self.maximum, value, self)
