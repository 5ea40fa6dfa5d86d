"""How devices are named on the command line: a name or file, and settings behind an @."""

from __future__ import annotations

import math
from collections.abc import Collection

__all__ = ["settings_of"]


def settings_of(spec: str, known: Collection[str]) -> tuple[str, dict[str, float]]:
    """Return the name of a device and its settings.

    Args:
        spec: ``NAME`` or ``NAME@SETTING=NUMBER,SETTING=NUMBER``; an @ without a = behind it belongs to
            the name.
        known: settings that there are.

    Raises:
        ValueError: if the name is empty, a setting is unknown or its value is not a number.

    Example:
        >>> settings_of("tivita@light=0.5", ("light",))
        ('tivita', {'light': 0.5})
    """
    name, _, behind = spec.rpartition("@")
    if "=" not in behind or not name:
        name, behind = spec, ""
    settings: dict[str, float] = {}
    for part in behind.split(",") if behind else ():
        key, _, value = part.partition("=")
        try:
            settings[key.strip()] = number = float(value)
        except ValueError:
            number = math.nan
        if key.strip() not in known or not math.isfinite(number):
            raise ValueError(
                f"device {spec!r}: {part!r} is not a setting; write NAME@SETTING=NUMBER with "
                f"{', '.join(known)}, for example {name}@{next(iter(known))}=0.5."
            )
    if not name:
        raise ValueError("a device has an empty name; give its name or the path of its file.")
    return name, settings
