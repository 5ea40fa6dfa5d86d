"""Sentences of the page of poses."""

from __future__ import annotations

from typing import Any

__all__ = ["pose_differences", "pose_facts"]


def pose_differences(record: dict[str, Any]) -> str:
    """How far apart the poses of a registration are; empty if there is one.

    Args:
        record: content of ``registration.json``.
    """
    return " ".join(
        f"Poses {row['modes'][0]} and {row['modes'][1]}: {row['rotation_deg']:.0f}° apart, target "
        f"{row['target_mm']:.0f} mm, bone {row['mtre_mm']:.0f} mm."
        for row in record["differences"]
    )


def pose_facts(record: dict[str, Any], notes: list[str]) -> list[str]:
    """Where a registration comes from: bundle, X-ray, trust.

    Args:
        record: content of ``registration.json``.
        notes: what was assumed about the X-ray, and how its poses were weighed.
    """
    trust, bundle = record["trust"], record["bundle"]
    said = [f"Bundle {bundle.get('name', 'unknown')} {bundle.get('version', '')}".strip()]
    said.append(f"X-ray {record['xray'].get('path', 'unknown')}")
    said += notes
    if "waic" in trust and "limit" in trust:
        said.append(f"WAIC {trust['waic']:.3g} nat, limit of trust {trust['limit']:.3g} nat")
    return said
