"""DICOM objects of a result: a Parametric Map for each map, Segmentations of what is withheld and of regions.

Maps are the medians, the widths of the intervals and, if the result has them, the means and the adequacy of
the model. Objects of an image that nobody acquired say so in description, comments and image type.

Values are those of the maps, float32, in the parameter's unit (UCUM); only trusted pixels have one. A pixel
that is out of distribution or holds no usable measurement has the *padding value* of its object, attribute
Float Pixel Padding Value: -1, or where values may reach that, the first of -10, -100, ... below all of them.
NaN would not do: many viewers take it badly. The range of the real world value mapping holds the padding
value, because readers such as highdicom refuse a whole object for one pixel outside that range. Which of the
two reasons holds, the Segmentation says: segment 1 "Out of distribution", segment 2 "No usable measurement".
If the result has regions of decision, a second Segmentation holds them: "certain", "possible", "unknown".
Parameters have codes of the private scheme 99MONAIINN, with their description as meaning.

Without a source series the objects form a study of nobody, see ``monai_inn.reports.dicom.study``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np

from monai_inn.reports.dicom.segments import located, regions_segmentation, withheld_segmentation
from monai_inn.reports.dicom.source import Layout, Source, fit_layout, read_source, upright_layout
from monai_inn.reports.dicom.study import SCHEME, comment, identity, own_study, short
from monai_inn.reports.stored import StoredResult

__all__ = ["SCHEME", "padding_value", "ucum", "write_dicom"]

_FIRST_SERIES = 9001
_ADEQUACY = {"name": "adequacy", "unit": "1", "low": 0.0, "high": 1.0, "width": 1.0,
             "description": "p-value of the fit, low: the model does not fit"}  # fmt: skip
_UNITS = {"1": "no units", "/cm": "per centimeter", "mm": "millimeter", "cm": "centimeter", "m": "meter",
             "rad": "radian", "deg": "degree", "g/L": "gram per liter"}  # fmt: skip


# What is not UCUM as we write it; words stand in braces.
_UCUM = {"g/l": "g/L", "°": "deg", "1e-3 mm²/s": "10*-3.mm2/s", "ml/100 g": "mL/(100.g)",
         "ml/100 g/min": "mL/(100.g)/min", "mM": "mmol/L", "µm": "um", "px": "{pixel}",
         "grey level": "{grey level}"}  # fmt: skip


def ucum(unit: str) -> tuple[str, str]:
    """Return UCUM code and meaning of a unit as our files write it: ``1/cm`` is ``/cm``."""
    code = _UCUM.get(unit, unit)
    code = code[1:] if code.startswith("1/") else code
    return code, _UNITS.get(code, unit)


def padding_value(lowest: float) -> float:
    """Return the value of pixels that have none: the first of -1, -10, -100, ... below ``lowest``."""
    value = -1.0
    while value >= lowest:
        value *= 10.0
    return value


def write_dicom(
    folder: Path, result: StoredResult, source: str | PathLike[str] | None = None
) -> list[dict[str, Any]]:
    """Write the DICOM objects of a result into a folder.

    Args:
        folder: existing folder to write into.
        result: the result.
        source: folder of the series that the image came from; objects then belong to its study and patient,
            lie in its frame of reference and refer to its instances.

    Returns:
        For each file its name, what it is, and for parametric maps the unit and the padding value.

    Raises:
        ValueError: if the source is not a single series on the grid of the maps, or that grid is sheared.
        OSError: if a file cannot be written.
    """
    _check_grid(result)
    with _quiet():
        return _write(folder, result, source)


def _write(folder: Path, result: StoredResult, source: str | PathLike[str] | None) -> list[dict[str, Any]]:
    if source is None:
        layout = upright_layout(result.affine, result.valid.shape)
        images = own_study(result, layout)
        about = {"object": "secondary capture"}
        entries = [
            _save(folder, f"image_{n + 1:03d}.dcm", image, about, result.synthetic)
            for n, image in enumerate(images)
        ]
        origin = Source(tuple(images), layout.affine, layout.apply(result.valid).shape, "own study")
        return [*entries, *_write_objects(folder, result, origin, layout)]
    origin = read_source(source)
    layout = fit_layout(result.affine, result.valid.shape, origin)
    try:
        return list(_write_objects(folder, result, origin, layout))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{source}: cannot be referred to by new objects: {error}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back two complaints of highdicom: names as the source has them, nothing withheld."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*represent the intended person name")
        warnings.filterwarnings("ignore", message=".*empty")
        yield


def _check_grid(result: StoredResult) -> None:
    axes = result.affine[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    if lengths.min() <= 0 or np.abs((axes / lengths).T @ (axes / lengths) - np.eye(3)).max() > 1e-3:
        raise ValueError(
            f"{result.folder}: axes of the maps are not at right angles, which DICOM images cannot hold; "
            "resample the image to a rectangular grid first."
        )


def _write_objects(
    folder: Path, result: StoredResult, source: Source, layout: Layout
) -> Iterator[dict[str, Any]]:
    rows = result.record["parameters"]
    wanted = [(kind, row) for row in rows for kind in ("mean", "median", "interval_width")]
    wanted = [
        each for each in (*wanted, ("adequacy", _ADEQUACY)) if (each[0], each[1]["name"]) in result.maps
    ]
    for number, (kind, row) in enumerate(wanted, start=_FIRST_SERIES):
        made, padding = _parametric_map(result, source, layout, row, kind, number)
        about = {"object": "parametric map", "map": kind, "parameter": row["name"], "unit": row["unit"]}
        stem = kind if kind == row["name"] else f"{kind}_{row['name']}"
        yield _save(folder, f"{stem}.dcm", made, {**about, "padding": padding}, result.synthetic)
    number = _FIRST_SERIES + len(wanted)
    made = withheld_segmentation(result, source, layout, number)
    made.ImageComments = comment(result)
    yield _save(folder, "withheld.dcm", made, {"object": "segmentation"})
    if "regions" in result.record:
        made = regions_segmentation(result, source, layout, number + 1)
        made.ImageComments = comment(result)
        about = {"object": "segmentation", "regions": result.record["regions"]}
        yield _save(folder, "regions.dcm", made, about, result.synthetic)


def _parametric_map(
    result: StoredResult, source: Source, layout: Layout, row: dict[str, Any], kind: str, number: int
) -> tuple[Any, float]:
    """The Parametric Map of one map, and its padding value."""
    values = result.maps[kind, row["name"]].astype(np.float32)
    trusted = result.trusted & np.isfinite(values)  # of no simulation there may be no p-value
    low, high = (row["low"], row["high"]) if kind in ("mean", "median") else (0.0, row["width"])
    known = values[trusted]
    first, last = (float(known.min()), float(known.max())) if known.size else (float(low), float(high))
    padding = padding_value(min(first, low))
    filled = layout.apply(np.where(trusted, values, np.float32(padding)))
    name, interval = row["name"], f"{100 * result.record['settings']['interval']:g} %"
    what = {"interval_width": f"width of {interval} interval", "adequacy": "p-value"}.get(kind, kind)
    made = hd.pm.ParametricMap(
        source_images=source.images,
        pixel_array=located(filled, layout, source),
        real_world_value_mappings=[_mapping(row, kind, what, float(filled.min()), last)],
        voi_lut_transformations=[hd.VOILUTTransformation((low + high) / 2, high - low)],
        content_label=kind.upper()[:16],
        content_description=short(f"{what} of {name}; no value: {padding:g}"),
        **identity(result, number, f"{name} {what} [{row['unit']}]"),
        contains_recognizable_visual_features=False,
    )
    made.FloatPixelPaddingValue = padding
    made.ImageComments = (
        f"{comment(result)} Pixels of value {padding:g} (Float Pixel Padding Value) have no value: they are "
        "out of distribution or hold no usable measurement, see the Segmentation of the same study."
    )
    return made, padding


def _mapping(row: dict[str, Any], kind: str, what: str, first: float, last: float) -> Any:
    """The identity from stored to real values, with unit, quantity and statistic as codes."""
    code = hd.sr.CodedConcept
    unit, meaning = ucum(row["unit"])
    mapping = hd.pm.RealWorldValueMapping(
        lut_label=row["name"][:16],
        lut_explanation=short(f"{row['name']}, {what}"),
        unit=code(unit, "UCUM", meaning),
        value_range=(first, last),
        slope=1.0,
        intercept=0.0,
        quantity_definition=code(row["name"][:16], SCHEME, short(row["description"] or row["name"])),
    )
    statistics = {
        "mean": code("373098007", "SCT", "Mean"),
        "median": code("373099004", "SCT", "Median"),
        "interval_width": code("INTERVAL_WIDTH", SCHEME, short(f"{what}, credible")),
        "adequacy": code("P_VALUE", SCHEME, "Posterior-predictive p-value"),
    }
    mapping.QuantityDefinitionSequence.append(
        hd.sr.CodeContentItem(name=code("121401", "DCM", "Derivation"), value=statistics[kind])
    )
    return mapping


def _save(
    folder: Path, name: str, dataset: Any, about: dict[str, Any], synthetic: str = ""
) -> dict[str, Any]:
    if synthetic:
        dataset.ImageType = [*dataset.ImageType, "SYNTHETIC"]
    dataset.SpecificCharacterSet = "ISO_IR 192"  # names of images and patients in any script
    dataset.save_as(folder / name, enforce_file_format=True)
    return {"file": name, **about}
