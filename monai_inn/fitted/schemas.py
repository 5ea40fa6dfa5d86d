"""JSON schemas of what a bundle says of itself: all that later code relies on, checked before anything runs.

``metadata.json`` is MONAI's format with a section of ours. What is optional may be missing, not of another
type. Numbers are finite wherever a record is read, see ``files.parse_json``.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "HEADER",
    "METADATA_OF_ANY_FORMAT",
    "NUMBER",
    "SECTION_OF_THIS_FORMAT",
    "SIZE",
    "TEXT",
    "TEXTS",
    "Schema",
    "each",
    "object_of",
]

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TEXTS: Schema = {"type": "array", "items": TEXT}
NUMBER: Schema = {"type": ["number", "null"]}  # null where JSON cannot hold what was measured
SIZE: Schema = {"type": "integer", "minimum": 0}


def object_of(required: Schema, optional: Schema | None = None) -> Schema:
    """An object that has some entries, and may have others; keys of several words are as many entries."""
    needed, others = (
        {name: kind for names, kind in entries.items() for name in names.split()}
        for entries in (required, optional or {})
    )
    return {"type": "object", "required": list(needed), "properties": needed | others}


def each(schema: Schema) -> Schema:
    """An object of any names, whose values are all of one kind."""
    return {"type": "object", "additionalProperties": schema}


_IMAGE = object_of(
    {"num_channels": {"type": "integer", "minimum": 1}}, {"modality": TEXT, "channel_def": each(TEXT)}
)
METADATA_OF_ANY_FORMAT = object_of(
    {
        "version monai_version pytorch_version numpy_version task description authors copyright": TEXT,
        "network_data_format": object_of({"inputs": object_of({"image": _IMAGE})}),
        "monai_inn": object_of({"format_version": {"type": "integer"}}),
    },
    {"name intended_use data_type": TEXT},
)

_PARAMETER = object_of({"name unit": TEXT, "low high": NUMBER}, {"description scale": TEXT})
_REPAIR = object_of(
    {"status": {"enum": ["repaired", "none needed"]}},
    {
        "statement guarantee not_guaranteed": TEXT,
        "simulations interval": NUMBER,
        "seeds": each(NUMBER),
        "targets": each({"type": "object"}),
        "groups": {"type": "array", "items": object_of({"parameters": TEXTS})},
    },
)
_BITS = {"anyOf": [{"type": "null"}, object_of({"bits low high": NUMBER})]}
_PACKAGE = object_of({"name version": TEXT})
_CARD = object_of(
    {},
    {
        "parameters": each(
            object_of({"calibration_error": NUMBER}, {"sbc_p contraction": NUMBER, "status verdict": TEXT})
        ),
        "measured_on": object_of({}, {"simulations seed": NUMBER}),
        "nll calibration_noise_floor_95": NUMBER,
        "information": object_of({"cases": SIZE, "parameters": each(_BITS), "targets every": _BITS}),
        "kl_from_exact": object_of(
            {"cases known": SIZE, "median largest": {"anyOf": [{"type": "null"}, NUMBER]}}
        ),
        "invariance": object_of(
            {
                "over": TEXT,
                "weight p_value sites_p_value": NUMBER,
                "gates": each(NUMBER),
                "sites": each(each(NUMBER)),
            }
        ),
        "classes": object_of(
            {"cases": SIZE, "calibration_error_if_exact": NUMBER},
            {"figures": each(object_of({"value low high": NUMBER}))},
        ),
        "ood": each(NUMBER),
        "training": object_of({}, {"recipe": each(NUMBER)}),
        "sources": TEXTS,
        "warnings": TEXTS,
        "recalibration": _REPAIR,
        "package": _PACKAGE,
        "parts": each(_PACKAGE),
    },
)
_TAKES = object_of({"verb": TEXT, "volumes": TEXTS}, {"noise_sd": TEXT})
SECTION_OF_THIS_FORMAT = object_of(
    {
        "problem": TEXT,
        "targets": {**TEXTS, "minItems": 1},
        "parameters": {"type": "array", "items": _PARAMETER, "minItems": 1},
        "weights_sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "weights_bytes": SIZE,
        "card": _CARD,
    },
    {
        "camera": {"type": ["string", "null"]},
        "result": TEXT,
        "series": {"anyOf": [{"type": "null"}, object_of({"most": SIZE, "settings": TEXTS})]},
        "takes": {"anyOf": [{"type": "null"}, _TAKES]},
        "has_likelihood": {"type": "boolean"},
        "derived": {"type": "array", "items": _PARAMETER},
    },
)

SIZES: Schema = {"type": "array", "items": SIZE}
_OLDER_NETWORK = object_of(
    {
        "num_features num_density_features": SIZE,
        "groups": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1},
    },
    {
        "condition_channels encoder_width encoder_blocks components templates members density_blocks": SIZE,
        "num_ood_scores seed recalibration_knots recalibration_cases": SIZE,
        "num_blocks": {"anyOf": [SIZE, SIZES]},
        "hidden_channels": {"type": "array", "items": {"anyOf": [SIZE, SIZES]}},
        "density_hidden periodic": SIZES,
        "coupling": {"enum": ["spline", "affine"]},
    },
)
_NETWORK = object_of(
    {
        "encoder": object_of({"kind": TEXT}),
        "flow density": {"type": "object"},
        "has_preview": {"type": "boolean"},
    },
    {
        "num_ood_scores recalibration_knots recalibration_cases": SIZE,
        "explanation": {"type": "object"},
        "base": object_of({"kind": TEXT}),
    },
)
HEADER = object_of(
    {
        "problem": object_of({"name": TEXT, "config": {"type": "object"}}),
        "network": {"anyOf": [_NETWORK, _OLDER_NETWORK]},
    }
)
