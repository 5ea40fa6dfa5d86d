"""The records of results, and JSON schemas of all that exports, pages and the viewer take from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai_inn.bundles.schemas import NUMBER, SIZE, TEXT, TEXTS, Schema, each, object_of
from monai_inn.files import BadFileError, check_record, own_file, read_json

__all__ = [
    "FORMAT_VERSION",
    "REGISTRATION",
    "REGISTRATION_RECORD",
    "RESULT",
    "RESULT_RECORD",
    "read_record",
]

RESULT, REGISTRATION = "result.json", "registration.json"
FORMAT_VERSION = 1

_FINITE: Schema = {"type": "number"}
_FILE: Schema = {"type": "string", "pattern": r"^[^\x00]+$"}
_SHARE: Schema = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
_OPTIONAL_TEXT: Schema = {"type": ["string", "null"]}
_COUNT: Schema = {"type": "integer", "minimum": 1}


def _list(items: Schema, least: int = 0, most: int | None = None) -> Schema:
    return {"type": "array", "items": items, "minItems": least} | ({} if most is None else {"maxItems": most})


_BUNDLE = object_of(
    {},
    {
        "name": TEXT,
        "path": TEXT,
        "version": TEXT,
        "weights_sha256": TEXT,
        "camera": _OPTIONAL_TEXT,
        "calibration": {
            "anyOf": [
                {"type": "null"},
                object_of(
                    {},
                    {
                        "simulations": {"type": ["integer", "null"]},
                        "noise": NUMBER,
                        "errors": each(_FINITE),
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
        "bundle": _BUNDLE,
        "files": _list(
            object_of(
                {"file": _FILE, "map": TEXT, "parameter": TEXT},
                {"unit": TEXT, "levels": _list(_FINITE, least=1)},
            )
        ),
        "image": object_of({"path": TEXT}, {"sha256": each(TEXT)}),
        "intended_use": TEXT,
        "parameters": _list(
            object_of(
                {
                    "name": TEXT,
                    "unit": TEXT,
                    "description": TEXT,
                    "low": _FINITE,
                    "high": _FINITE,
                    "width": _FINITE,
                },
                {"scale": TEXT},
            ),
            least=1,
        ),
        "settings": object_of(
            {},
            {
                "interval": _SHARE,
                "false_alarm": _FINITE,
                "below": {"anyOf": [each(_FINITE), {"type": "null"}]},
                "shrink": _COUNT,
                "mask": _OPTIONAL_TEXT,
                "white": _OPTIONAL_TEXT,
                "dark": _OPTIONAL_TEXT,
            },
        ),
        "summary": object_of({}, {"share_untrusted": NUMBER}),
    },
    {
        "created": TEXT,
        "pictures": _list(_FILE),
        "versions": each(TEXT),
        "trust": object_of({}, {"waic_scale": _list(_FINITE, 2, 2), "waic_limit": _FINITE}),
    },
)

_WIDTHS = each(_FINITE)
_REFINED = object_of({"pose": _WIDTHS, "sd": _WIDTHS, "log_likelihood_gain": _FINITE})
_POSE = object_of(
    {
        "number": _COUNT,
        "mass": _FINITE,
        "pose": _WIDTHS,
        "spread": _WIDTHS,
        "camera_to_world": _list(_list(_FINITE, 4, 4), 4, 4),
        "files": {**each(_FILE), "required": ["drr"]},
        "mtre_mm": object_of({"low": _FINITE, "median": _FINITE, "high": _FINITE}),
        "similarity": object_of({"ncc": _FINITE}),
    },
    {"refined": {"anyOf": [_REFINED, {"type": "null"}]}},
)
REGISTRATION_RECORD = object_of(
    {
        "format_version": {"type": "integer"},
        "ambiguity": object_of({"statement": TEXT}),
        "bundle": _BUNDLE,
        "detector": object_of(
            {
                "rows": _COUNT,
                "columns": _COUNT,
                "spacing_mm": {"type": "number", "exclusiveMinimum": 0},
                "source_detector_mm": {"type": "number", "exclusiveMinimum": 0},
                "beam": {"enum": ["cone", "parallel"]},
            }
        ),
        "differences": _list(
            object_of(
                {
                    "modes": _list(SIZE, 2, 2),
                    "rotation_deg": _FINITE,
                    "target_mm": _FINITE,
                    "mtre_mm": _FINITE,
                }
            )
        ),
        "intended_use": TEXT,
        "modes": _list(_POSE, least=1),
        "parameters": _list(
            object_of({"name": TEXT, "unit": TEXT, "description": TEXT}, {"is_free": {"type": "boolean"}}),
            least=1,
        ),
        "target_ras_mm": _list(_FINITE, 3, 3),
        "trust": object_of(
            {"is_trusted": {"type": "boolean"}, "statement": TEXT}, {"waic": _FINITE, "limit": _FINITE}
        ),
        "xray": object_of({}, {"path": TEXT, "notes": TEXTS}),
    },
    {
        "weights": {"anyOf": [object_of({}, {"statement": TEXT}), {"type": "null"}]},
        "second_xray": {"type": ["object", "null"]},
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
        raise ValueError(f"{folder}: no {name} in it; give the folder that `{command}` wrote.") from error
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
