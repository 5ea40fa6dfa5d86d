"""What must be said wherever answers of a network are shown, from its card."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from monai_inn.registry import installed_version

__all__ = ["TOLERATED_ERROR", "card_warnings"]

TOLERATED_ERROR = 0.02
_CAUGHT, _FLAGGED, _BY_WAIC = 0.9, "flagged_", "auroc_"
UNLIKELY = 0.01  # of p-values of sites: one of a hundred invariant networks is warned of


def card_warnings(card: Mapping[str, Any], targets: Iterable[str]) -> list[str]:
    """Return warnings about a network, one sentence each; none for a well trained or unmeasured one.

    Those of its problem come first: ``card["warnings"]``.

    One whose problem came from a package of another version than the installed one is warned of, too.

    A parameter is warned of if it is miscalibrated by the rule of ``validate``. Cards of former releases hold
    its calibration error alone: that must exceed the sum of what noise adds on so many simulations
    (``calibration_noise_floor_95``, the 95 % bound for an exact posterior) and ``TOLERATED_ERROR``.

    Args:
        card: what was measured at the end of training.
        targets: names of the parameters that people look at.
    """
    own = card.get("warnings", ())
    measured = (*_of_calibration(card, targets), *_of_invariance(card.get("invariance")), *_of_trust(card))
    return [*own, *_of_package(card.get("package")), *measured]


def _of_package(package: Mapping[str, str] | None) -> list[str]:
    if package is None or package["name"] == "monai_inn":
        return []  # ours says by its format version what it can read
    name, version = package["name"], package["version"]
    installed = installed_version(name)
    if installed in (version, None):  # loading says that it is missing
        return []
    return [
        f"This network was trained on simulations of {name} {version}, and {name} {installed} is installed, "
        f"which may simulate otherwise: install {name}=={version}, or train it again."
    ]


def _of_invariance(measured: Mapping[str, Any] | None) -> list[str]:
    if measured is None:
        return []
    over = measured["over"]
    if measured["sites_p_value"] > UNLIKELY:
        return [
            f"The {over}s of the training cannot be told apart (p = {measured['sites_p_value']:.2g}), so "
            f"nothing is known of what is invariant: expect no more at another {over} than of any network."
        ]
    if measured["p_value"] > UNLIKELY:
        return []
    return [
        f"What this network makes of an observation still depends on the {over} (p = "
        f"{measured['p_value']:.2g}): train it with a larger weight of the invariance, or longer."
    ]


def _of_trust(card: Mapping[str, Any]) -> list[str]:
    trust = card.get("ood")
    if trust is None:
        return []
    seen = {n.removeprefix(_FLAGGED): share for n, share in trust.items() if n.startswith(_FLAGGED)}
    if not seen and any(n.startswith(_BY_WAIC) for n in trust):
        return [
            "This bundle is from before the test of explanation: it judges by WAIC alone, which misses much "
            "that the model cannot explain. Train it again with this release."
        ]
    missed = [
        f"{name.replace('_', ' ')} {share:.0%}"
        for name, share in seen.items()
        if share is not None and share < _CAUGHT
    ]
    if not missed:
        return []
    return [
        "This network cannot tell all that it does not know: of simulations that were spoilt on purpose it "
        f"noticed too few ({', '.join(missed)}; {_CAUGHT:.0%} are expected)."
    ]


def _of_calibration(card: Mapping[str, Any], targets: Iterable[str]) -> list[str]:
    measured, noise = card.get("parameters", {}), card.get("calibration_noise_floor_95")
    rows = {name: measured[name] for name in targets if name in measured}
    found = {name: _miscalibrated(row, noise) for name, row in rows.items()}
    bad = [f"{name}: {text}" for name, text in found.items() if text]
    if not bad:
        return []
    return [
        f"This network is miscalibrated, usually because it was trained too briefly: do not rely on its "
        f"intervals. {'; '.join(bad)}. Train it longer."
    ]


def _miscalibrated(row: Mapping[str, Any], noise: float | None) -> str:
    """How a parameter is miscalibrated, empty if it is not."""
    if "status" in row:
        return str(row.get("verdict", "miscalibrated")) if row["status"] == "miscalibrated" else ""
    if noise is None:
        return ""
    # Metadata hold null for what is not a number.
    error = math.nan if row.get("calibration_error") is None else float(row["calibration_error"])
    most = noise + TOLERATED_ERROR
    return "" if error <= most else f"calibration error {error:.3f}, where {most:.3f} is tolerated"
