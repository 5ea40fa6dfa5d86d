"""Records of registrations and prepared patients: schemas of what pages and the viewer take from them."""

from monai_inn.fitted.schemas import SIZE, TEXT, TEXTS, each, object_of
from monai_inn.reports.schemas import BUNDLE, COUNT, FILE, FINITE, list_of

__all__ = ["PATIENT", "PATIENT_RECORD", "REGISTRATION", "REGISTRATION_RECORD"]

REGISTRATION, PATIENT = "registration.json", "patient.json"

_WIDTHS = each(FINITE)
_REFINED = object_of({"pose sd": _WIDTHS, "log_likelihood_gain": FINITE})
_POSE = object_of(
    {
        "number": COUNT,
        "mass": FINITE,
        "pose spread": _WIDTHS,
        "camera_to_world": list_of(list_of(FINITE, 4, 4), 4, 4),
        "files": {**each(FILE), "required": ["drr"]},
        "mtre_mm": object_of({"low median high": FINITE}),
        "similarity": object_of({"ncc": FINITE}),
    },
    {"refined": {"anyOf": [_REFINED, {"type": "null"}]}},
)
REGISTRATION_RECORD = object_of(
    {
        "format_version": {"type": "integer"},
        "ambiguity": object_of({"statement": TEXT}),
        "bundle": BUNDLE,
        "detector": object_of(
            {
                "rows columns": COUNT,
                "spacing_mm source_detector_mm": {"type": "number", "exclusiveMinimum": 0},
                "beam": {"enum": ["cone", "parallel"]},
            }
        ),
        "differences": list_of(
            object_of({"modes": list_of(SIZE, 2, 2), "rotation_deg target_mm mtre_mm": FINITE})
        ),
        "intended_use": TEXT,
        "modes": list_of(_POSE, least=1),
        "parameters": list_of(
            object_of({"name unit description": TEXT}, {"is_free": {"type": "boolean"}}),
            least=1,
        ),
        "target_ras_mm": list_of(FINITE, 3, 3),
        "trust": object_of({"is_trusted": {"type": "boolean"}, "statement": TEXT}, {"waic limit": FINITE}),
        "xray": object_of({}, {"path": TEXT, "notes": TEXTS}),
    },
    {
        "weights": {"anyOf": [object_of({}, {"statement": TEXT}), {"type": "null"}]},
        "residual": object_of({"chi_square_per_pixel p_value": FINITE}),
        "other_xrays": list_of(object_of({}, {"path": TEXT})),
        "volume_ras_mm": list_of(list_of(FINITE, 3, 3), 2, 2),
    },
)

_DETECTOR = object_of(
    {
        "rows columns": COUNT,
        "spacing_mm source_detector_mm source_isocentre_mm": {"type": "number", "exclusiveMinimum": 0},
    },
    {"goes_on": {"type": "boolean"}, "margin": list_of(SIZE, 2, 2)},
)
PATIENT_RECORD = object_of(
    {
        "format_version": {"type": "integer"},
        "ct": object_of({"name path sha256": TEXT}),
        "free": each(list_of(FINITE, 2, 2)),
        "fixed": each(FINITE),
        "target_ras_mm": list_of(FINITE, 3, 3),
        "detectors banks": list_of(_DETECTOR, least=1),
        "sha256": each(TEXT),
    }
)
