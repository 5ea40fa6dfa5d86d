"""The model card of a bundle, written from what was measured, not by hand; its text is in ``card.md``."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template

    from monai_inn.fitted import FittedPosterior

__all__ = ["model_card"]


def model_card(fitted: FittedPosterior, metadata: dict[str, Any]) -> str:
    """Return the bundle's ``docs/README.md`` in Markdown.

    Args:
        fitted: the trained posterior with its card.
        metadata: the bundle's ``metadata.json``.
    """
    from monai_inn.problems.parameters import one_of_each_field

    problem = fitted.problem
    return _template().render(
        metadata=metadata,
        warnings=fitted.warnings,
        card=fitted.card,
        problem=problem,
        application=problem.application,
        is_exported=any("configs/export.json" in line for line in problem.application.usage),
        parameters=one_of_each_field(problem.parameters),
        spoilt=[k.removeprefix("auroc_") for k in fitted.card.get("ood", {}) if k.startswith("auroc_")],
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # Markdown for people to read: nothing in it is escaped.
    loader = PackageLoader("monai_inn.fitted", "")
    templates = Environment(
        undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True, loader=loader
    )
    templates.filters["number"] = _number
    return templates.get_template("card.md")


def _number(value: Any) -> str:
    return "unknown" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
