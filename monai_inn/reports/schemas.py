"""The records of results, and JSON schemas of all that exports, pages and the viewer take from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai_inn.files import BadFileError, check_record, own_file, read_json
from monai_inn.fitted.schemas import NUMBER, TEXT, Schema, each, object_of

__all__ = [
    "BUNDLE",
    "COUNT",
    "FILE",
    "FINITE",
    "FORMAT_VERSION",
    "RESULT",
    "RESULT_RECORD",
    "list_of",
    "read_record",
]

RESULT = "result.json"
FORMAT_VERSION = 1

FINITE: Schema = {"type": "number"}
FILE: Schema = {"type": "string", "pattern": r"^[^\x00]+$"}
_SHARE: Schema = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
_OPTIONAL_TEXT: Schema = {"type": ["string", "null"]}
COUNT: Schema = {"type": "integer", "minimum": 1}


def list_of(items: Schema, least: int = 0, most: int | None = None) -> Schema:
    """A list of entries of one kind."""
    return {"type": "array", "items": items, "minItems": least} | ({} if most is None else {"maxItems": most})


BUNDLE = object_of(
    {},
    {
        "name path version weights_sha256": TEXT,
        "camera": _OPTIONAL_TEXT,
        "calibration": {
            "anyOf": [
                {"type": "null"},
                object_of(
                    {},
                    {
                        "simulations": {"type": ["integer", "null"]},
                        "noise": NUMBER,
                        "errors": each(FINITE),
                        "recalibrated": {"type": "boolean"},
                    },
                ),
            ]
        },
    },
)
RESULT_RECORD = object_of(
    {
        "format_version": {"type": "integer"},
        "bundle": BUNDLE,
        "files": list_of(
            object_of(
                {"file": FILE, "map parameter": TEXT},
                {"unit": TEXT, "levels": list_of(FINITE, least=1)},
            )
        ),
        "image": object_of({"path": TEXT}, {"sha256": each(TEXT), "is_oriented": {"type": "boolean"}}),
        "intended_use": TEXT,
        "parameters": list_of(
            object_of(
                {"name unit description": TEXT, "low high width": FINITE},
                {"scale": TEXT, "turn": FINITE, "is_class": {"type": "boolean"}},
            ),
            least=1,
        ),
        "settings": object_of(
            {},
            {
                "interval": _SHARE,
                "false_alarm": FINITE,
                "below": {"anyOf": [each(FINITE), {"type": "null"}]},
                "shrink": COUNT,
                "mask white dark": _OPTIONAL_TEXT,
            },
        ),
        "summary": object_of({}, {"share_untrusted": NUMBER, "reasons": each(FINITE)}),
    },
    {
        "created synthetic": TEXT,
        "pictures": list_of(FILE),
        "versions": each(TEXT),
        "curves": object_of(
            {
                "quantity unit axis axis_unit": TEXT,
                "positions": list_of(FINITE, least=2),
                "interval": _SHARE,
                "bytes": COUNT,
            }
        ),
        "regions": object_of(
            {
                "parameter": TEXT,
                "threshold certain possible smallest": FINITE,
                "is_above": {"type": "boolean"},
            }
        ),
        "change": object_of({"first second": TEXT, "resampled": {"type": "boolean"}}),
        "trust": object_of(
            {}, {"waic_scale": list_of(FINITE, 2, 2), "waic_limit": FINITE, "reasons": list_of(TEXT)}
        ),
    },
)


def read_record(folder: Path, name: str, schema: Schema, command: str) -> dict[str, Any]:
    """Return the record in a folder that a command wrote.

    Args:
        folder: where it lies.
        name: its file.
        schema: what it must follow.
        command: who writes it, for messages.

    Raises:
        ValueError: if there is none, or it is damaged or of another release.
    """
    try:
        record: dict[str, Any] = read_json(own_file(folder, name))
        check_record(record, schema)
    except (FileNotFoundError, NotADirectoryError) as error:
        if not folder.exists():
            raise ValueError(f"{folder}: no such folder; check the path.") from None
        wanted = _instead(folder) or f"give the folder that `{command}` wrote"
        raise ValueError(f"{folder}: no {name} in it; {wanted}.") from error
    except BadFileError:
        raise
    except ValueError as error:
        raise ValueError(f"{folder / name}: is damaged ({error}); run `{command}` again.") from error
    if record["format_version"] != FORMAT_VERSION:
        raise ValueError(
            f"{folder / name}: has format {record['format_version']}, this release reads {FORMAT_VERSION}; "
            "update monai_inn."
        )
    return record


def _instead(folder: Path) -> str:
    """What to give, or to open, in place of a folder of several results, of a page, a picture or a table."""
    inner = sorted(path.parent for path in folder.glob("*/*.json"))
    if inner:
        return f"it holds results in folders of their own, give one of them, such as {inner[0]}"
    names = ("*.html", "overview.png", "*.png", "*.csv")
    found = [path for name in names for path in sorted(folder.glob(name))]
    is_ours = any(folder.glob("*.json"))
    return f"it is a folder of another kind, open {found[0]}" if found and is_ours else ""
