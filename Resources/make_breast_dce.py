"""Make the example series of a breast: concentrations around a tumour, from measured signals.

    python Resources/make_breast_dce.py FOLDER

FOLDER holds the slice of ``demo/invivo.mat`` of DCEMRI.jl as files: ``signal.nii.gz`` (192, 192, 1, 25),
``flip_angles.nii.gz`` (192, 192, 1, 10) and ``aif.csv`` with the columns ``time_s,plasma_mM``. Signals are
converted as ``monai-inn concentration`` does, cut, and rounded to what is far below their noise.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import SimpleITK
import torch
from PIL import Image

from monai_inn.applications.perfusion.series.concentrations import Settings
from monai_inn.applications.perfusion.series.converting import Artery, convert_series
from monai_inn.applications.perfusion.series.images import with_times
from monai_inn.applications.perfusion.series.reading import read_series
from monai_inn.transforms import read_multispectral, write_map, write_nrrd

HERE = Path(__file__).resolve().parent
SLICER = HERE.parent / "SlicerINN/INNUncertainty/Resources/SampleData"
CUT = (slice(80, 144), slice(68, 132))
STEP_MM = 2**-14  # 0.06 µM; the noise is 4 µM at least
INTERVAL_S, TR_MS, FLIP_DEG, RELAXIVITY = 16.43, 7.939, 20.0, 4.5
ANGLES_DEG = (20, 18, 16, 14, 12, 10, 8, 6, 4, 2)
SOURCE = "cut of demo/invivo.mat of github.com/davidssmith/DCEMRI.jl, MIT, © 2014 David S. Smith"


def write_series(source: Path, folder: Path) -> Path:
    """Write image and JSON file and return the path of the image."""
    settings = Settings(
        flip_angles=[source / "flip_angles.nii.gz"],
        angles_deg=ANGLES_DEG,
        flip_deg=FLIP_DEG,
        tr_ms=TR_MS,
        relaxivity=RELAXIVITY,
    )
    series = with_times(read_series(source / "signal.nii.gz"), None, INTERVAL_S)
    out = folder / "breast_dce.nii.gz"
    with TemporaryDirectory() as drafts:
        whole = Path(drafts) / out.name
        convert_series(series, whole, Artery(source / "aif.csv"), settings)
        record = json.loads(whole.with_name("breast_dce.json").read_text(encoding="utf-8"))
        image = read_multispectral(whole).as_tensor()[(slice(None), *CUT)]
    affine = torch.eye(4, dtype=torch.float64)
    affine[:2, 3] = torch.tensor([float(part.start) for part in CUT])
    write_map(out, (image / STEP_MM).round() * STEP_MM, {"affine": affine, "units": "mM"})
    record["acquisition"]["source"] = SOURCE
    text = json.dumps(record, indent=1, ensure_ascii=False)
    out.with_name("breast_dce.json").write_text(f"{text}\n", encoding="utf-8")
    return out


def write_slicer_sample(series: Path, folder: Path) -> None:
    """Write the series as sample data of the Slicer module, with its thumbnail and licence."""
    image = read_multispectral(series)
    path = write_nrrd(folder / "breast_dce.nrrd", image)
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(path)), str(path), useCompression=True)
    shown = image.as_tensor()[8:, :, :, 0].mean(0).nan_to_num().T
    grey = Image.fromarray((255 * (shown / shown.quantile(0.93)).clamp(0, 1)).byte().numpy())
    grey.resize((210, 210)).save(path.with_suffix(".png"), optimize=True)
    shutil.copy(series.with_name("breast_dce_LICENSE.md"), folder)


if __name__ == "__main__":
    write_slicer_sample(write_series(Path(sys.argv[1]), HERE), SLICER)
