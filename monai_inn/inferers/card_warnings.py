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

    A parameter is warned of if its calibration error exceeds the sum of what noise adds on so many
    simulations (``calibration_noise_floor_95``, the 95 % bound for an exact posterior) and
    ``TOLERATED_ERROR``: then its true error is above the tolerance with that confidence.

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
    noise = card.get("calibration_noise_floor_95")
    measured = card.get("parameters", {})
    if noise is None:
        return []
    found = {name: measured[name].get("calibration_error") for name in targets if name in measured}
    # Metadata hold null for what is not a number.
    errors = {name: math.nan if error is None else float(error) for name, error in found.items()}
    bad = [f"{name} {error:.3f}" for name, error in errors.items() if not error <= noise + TOLERATED_ERROR]
    if not bad:
        return []
    return [
        f"This network is badly calibrated, usually because it was trained too briefly: do not rely on its "
        f"intervals. Calibration error: {', '.join(bad)}; up to {TOLERATED_ERROR} beyond the measurement's "
        f"noise of {noise:.3f} is tolerated. Train it longer."
    ]
