"""The results of registration in words, for the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["poses_in_words", "prepared_in_words", "statement_of"]


def poses_in_words(result: Mapping[str, Any]) -> str:
    """Return what ``register`` found as text for people."""
    from monai_inn.applications.registration.results.record import value_in_words

    free = {row["name"]: row["is_free"] for row in result["parameters"]}
    trust, of_poses = result["trust"], result["ambiguity"]["statement"]
    # What an X-ray's poses are is not the first thing to read where they are not to be used.
    lines = [of_poses] if trust["is_trusted"] else [trust["statement"], "The best fits all the same:"]

    def pose(values: Mapping[str, float], sd: Mapping[str, float]) -> str:
        said = (value_in_words(n, values[n], sd[n] if is_free else None) for n, is_free in free.items())
        return ", ".join(said)

    for mode in result["modes"]:
        said, error = pose(mode["pose"], mode["spread"]), mode["mtre_mm"]["median"]
        lines.append(f"  {mode['number']}: {mode['mass']:.0%}  {said}; bone within {error:.1f} mm (median)")
        if (top := mode["refined"]) is not None:
            gain = top["log_likelihood_gain"]
            lines.append(f"     refined: {pose(top['pose'], top['sd'])}; log likelihood + {gain:.1f} nats")
    if result["weights"] is not None:
        lines.append(result["weights"]["statement"])
    lines += [*([trust["statement"]] if trust["is_trusted"] else []), *result["xray"]["notes"]]
    lines += [f"picture: {result['out']}/{name}" for name in result["pictures"]]
    return "\n".join([*lines, result["intended_use"]])


def prepared_in_words(result: Mapping[str, Any]) -> str:
    """Return what ``prepare`` made ready as text for people."""
    detector = max(result["detectors"], key=lambda one: one["columns"])
    side = detector["columns"] * detector["spacing_mm"], detector["rows"] * detector["spacing_mm"]
    return (
        f"{result['ct']['name']} is ready for X-rays of {side[0]:.0f} × {side[1]:.0f} mm on the detector, "
        f"{detector['source_detector_mm']:.0f} mm from the source.\n"
        f"Next: monai-inn register {result['out']} XRAY -o poses"
    )


def statement_of(result: Mapping[str, Any]) -> str:
    """Return the statement of ``aim`` or ``views`` and where its pictures are."""
    pictures = [f"picture: {result['out']}/{name}" for name in result["pictures"]]
    return "\n".join([result["statement"], *pictures])
