"""Camera files: a JSON record that names a camera's tables, its filter, its light and its noise."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from monai_inn.files import check_record, one_line, read_json
from monai_inn.physics.measured_bands import read_curve
from monai_inn.physics.tables import DATA

__all__ = ["read_camera_file"]


def read_camera_file(path: str | PathLike[str]) -> dict[str, Any]:
    """Read a camera file into the arguments of ``Camera.from_csv``.

    All entries but ``responses`` may be left out. Paths are relative to the folder of the camera file.

    ========================= ========================================================================
    ``name``                  what people call the camera; the name of the file by default
    ``responses``             table of band responses, see ``measured_bands``
    ``passband_nm``           range in nm that the band-pass filter lets through
    ``filter``                table of a filter's or lens's transmission, see ``read_curve``
    ``illumination``          table of the light's relative power, likewise
    ``peaks_nm``              the vendor's peak wavelength of each band in nm, in the order of the table
    ``contiguous``, ``noise`` settings of ``Camera``; those of its noise are entries of ``noise``
    ========================= ========================================================================

    Args:
        path: the JSON file.

    Returns:
        Keyword arguments of ``Camera.from_csv``, those that the file gives.

    Raises:
        ValueError: if the file or a table that it names is not as it should be.
    """
    schema = read_json(DATA / "camera_schema.json")
    try:
        content = read_json(path)
        check_record(content, schema)
    except ValueError as error:
        raise ValueError(
            f"{path}: is not a camera file ({one_line(error)}). Entries are "
            f"{', '.join(schema['properties'])}; only responses is needed."
        ) from error
    folder = Path(path).parent
    noise = content.pop("noise", {})
    settings = {"name": Path(path).stem, **content, **noise}
    settings["path"] = folder / settings.pop("responses")
    for entry, argument in (("filter", "transmission"), ("illumination", "illuminant")):
        if entry in settings:
            settings[argument] = read_curve(folder / settings.pop(entry))
    return settings
