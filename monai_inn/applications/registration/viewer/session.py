"""What ties the page of a registration to its scene. The state is the server's: all tabs share it."""

from __future__ import annotations

from typing import Any

from monai_inn.applications.registration.viewer.page import build_poses
from monai_inn.applications.registration.viewer.stage import PoseStage
from monai_inn.viewer.display import (
    COMPARISONS,
    POSE_LABELS,
    Comparing,
    Pose,
    accuracy_sentence,
    pose_notes,
    pose_row,
    pose_verdict,
)
from monai_inn.viewer.words import INTENDED_USE

__all__ = ["PoseSession", "pose_differences", "pose_facts"]

_LOOKS = ("pose", "confirmed", "comparison", "share", "fields")
_COMPARED = {
    "blend": "X-ray and DRR, blended",
    "checkerboard": "X-ray and DRR take turns",
    "difference": "X-ray minus DRR",
}


class PoseSession:
    """The page of a registration.

    Texts that come out of the result's files reach the page as values of its state, never as part of its
    template, which the browser would evaluate.

    Args:
        server: trame's server, before it starts.
        stage: the scene.
        name: what people call the result.
    """

    def __init__(self, server: Any, stage: PoseStage, name: str) -> None:
        self.stage, self.state, self.result = stage, server.state, stage.run.result
        self._start(name)
        build_poses(server, stage.layout)
        stage.layout.set_layout("poses")
        stage.on_target = self.read
        self.state.change(*_LOOKS)(self.refresh)
        self.refresh()

    def _start(self, name: str) -> None:
        """First values of all that the page shows."""
        state, text = pose_verdict(self.result)
        record = self.result.record
        rows = [(pose.number, pose_row(self.result, pose)) for pose in self.result.poses]
        self.state.update(
            {
                "trame__title": f"{name}: plausible poses",
                "name": name,
                "intended_use": INTENDED_USE,
                "banner": text,
                "banner_state": state,
                "is_trusted": self.result.is_trusted,
                "confirmed": False,
                "rows": [
                    {"number": number, "cells": [f"{r[1]} %", f"{r[2]}°", f"{r[3]}°", r[-1]]}
                    for number, r in rows
                ],
                "pose": self.result.poses[0].number,
                "comparison": "blend",
                "comparisons": [{"title": kind.capitalize(), "value": kind} for kind in COMPARISONS],
                "share": 0.5,
                "fields": 8,
                "facts": pose_facts(record, pose_notes(self.result)),
                "differences": pose_differences(record),
            }
        )

    def refresh(self, **_: Any) -> None:
        """Draw what the controls say, and say it in numbers with units."""
        state = self.state
        allowed = self.result.is_trusted or bool(state.confirmed)
        how = Comparing(state.comparison, float(state.share), int(state.fields))
        self.stage.show(int(state.pose) if allowed else None, how)
        state.update(
            {
                "allowed": allowed,
                "compared": _COMPARED[how.kind],
                "share_text": f"{how.share:.0%}",
                "fields_text": f"{how.fields} along the longer side",
            }
        )
        self.read()

    def read(self) -> None:
        """Put the shown pose and the target on the page."""
        run = self.stage.run
        pose, target, spread = run.shown, run.target, run.spread()
        where = "" if target is None else "R {:.1f}, A {:.1f}, S {:.1f} mm.".format(*target)
        with self.state as state:
            state.update(
                {
                    "values": [] if pose is None else self._values(pose),
                    "landmarks": "" if pose is None else accuracy_sentence(self.result, pose),
                    "target": f"{where} {spread.text}" if spread is not None else where,
                }
            )

    def _values(self, pose: Pose) -> list[dict[str, str]]:
        rows = []
        for parameter in self.result.record["parameters"]:
            name, unit = parameter["name"], "°" if parameter["unit"] == "deg" else f" {parameter['unit']}"
            sure = (
                f" ± {float(pose.record['spread'][name]):.1f}{unit}" if parameter.get("is_free", True) else ""
            )
            rows.append(
                {
                    "name": POSE_LABELS.get(name, name),
                    "about": parameter["description"],
                    "text": f"{pose.value(name):.1f}{unit}{sure}",
                }
            )
        return rows


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
