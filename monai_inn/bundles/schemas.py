"""JSON schemas of what a bundle says of itself: all that later code relies on, checked before anything runs.

``metadata.json`` is MONAI's format with a section of ours. What is optional may be missing, not of another
type. Numbers are finite wherever a record is read, see ``files.parse_json``.
"""

from __future__ import annotations

from typing import Any

__all__ = ["HEADER", "METADATA_OF_ANY_FORMAT", "SECTION_OF_THIS_FORMAT"]

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_NUMBER: Schema = {"type": ["number", "null"]}  # null where JSON cannot hold what was measured
_SIZE: Schema = {"type": "integer", "minimum": 0}


def _object(required: Schema, optional: Schema | None = None) -> Schema:
    return {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}}


def _each(schema: Schema) -> Schema:
    return {"type": "object", "additionalProperties": schema}


_STRINGS = (
    "version",
    "monai_version",
    "pytorch_version",
    "numpy_version",
    "task",
    "description",
    "authors",
    "copyright",
)
METADATA_OF_ANY_FORMAT = _object(
    {name: _TEXT for name in _STRINGS}
    | {
        "network_data_format": _object(
            {"inputs": _object({"image": _object({"num_channels": {"type": "integer", "minimum": 1}})})}
        ),
        "monai_inn": _object({"format_version": {"type": "integer"}}),
    },
    {"name": _TEXT, "intended_use": _TEXT},
)

_PARAMETER = _object(
    {"name": _TEXT, "unit": _TEXT, "low": _NUMBER, "high": _NUMBER}, {"description": _TEXT, "scale": _TEXT}
)
_REPAIR = _object(
    {"status": {"enum": ["repaired", "none needed"]}},
    {
        "statement": _TEXT,
        "guarantee": _TEXT,
        "not_guaranteed": _TEXT,
        "simulations": _NUMBER,
        "interval": _NUMBER,
        "seeds": _each(_NUMBER),
        "targets": _each({"type": "object"}),
        "groups": {"type": "array", "items": _object({"parameters": _TEXTS})},
    },
)
_CARD = _object(
    {},
    {
        "parameters": _each(
            _object({"calibration_error": _NUMBER}, {"sbc_p": _NUMBER, "contraction": _NUMBER})
        ),
        "measured_on": _object({}, {"simulations": _NUMBER, "seed": _NUMBER}),
        "nll": _NUMBER,
        "calibration_noise_floor_95": _NUMBER,
        "ood": _each(_NUMBER),
        "training": _object({}, {"recipe": _each(_NUMBER)}),
        "sources": _TEXTS,
        "recalibration": _REPAIR,
    },
)
SECTION_OF_THIS_FORMAT = _object(
    {
        "problem": _TEXT,
        "targets": {**_TEXTS, "minItems": 1},
        "parameters": {"type": "array", "items": _PARAMETER, "minItems": 1},
        "weights_sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "weights_bytes": _SIZE,
        "card": _CARD,
    },
    {"camera": {"type": ["string", "null"]}},
)

_SIZES: Schema = {"type": "array", "items": _SIZE}
HEADER = _object(
    {
        "problem": _object({"name": _TEXT, "config": {"type": "object"}}),
        "network": _object(
            {
                "num_features": _SIZE,
                "num_density_features": _SIZE,
                "groups": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1},
            },
            {
                **dict.fromkeys(
                    (
                        "condition_channels", "encoder_width", "encoder_blocks", "components", "templates",
                        "members", "density_blocks", "num_ood_scores", "seed", "recalibration_knots",
                        "recalibration_cases",
                    ),
                    _SIZE,
                ),
                "num_blocks": {"anyOf": [_SIZE, _SIZES]},
                "hidden_channels": {"type": "array", "items": {"anyOf": [_SIZE, _SIZES]}},
                "density_hidden": _SIZES,
                "periodic": _SIZES,
                "coupling": {"enum": ["spline", "affine"]},
            },
        ),
    }
)  # fmt: skip
