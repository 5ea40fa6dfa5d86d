"""Pages of results, reports and comparisons: HTML that needs nothing from outside, all of one template."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["percent", "rendered"]


def rendered(template: str, **values: Any) -> str:
    """Return a page as HTML.

    Args:
        template: its path in this package; it extends ``reports/base.html``, which has head and style.
        values: what it shows, beside the functions ``number`` and ``percent`` that every page has.
    """
    return _templates().get_template(template).render({"number": _number, "percent": percent, **values})


@cache
def _templates() -> Environment:
    """Templates that were compiled once serve all pages of a process."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, loader=PackageLoader("monai_inn", "")
    )


def _number(value: float | None, form: str = "%.3g") -> str:
    return "–" if value is None else (form % value).replace("-", "−")


def percent(share: float | None, digits: int = 0) -> str:
    """Return a share in per cent, a dash for ``None``."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"
