"""Files of measured k-space: ISMRMRD, and NPZ with samples and their mask."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_inn.files import BadFileError, require_file
from monai_inn.reading.arrays import read_npz
from monai_inn.reading.limits import check_limit, import_library
from monai_inn.reading.volumes import LPS_TO_RAS

__all__ = ["Measured", "read_kspace"]

_SAME_MM = 1e-2
_ISMRMRD = (".h5", ".hdf5", ".mrd")
_ONLY_ONE = ("contrast", "phase", "repetition", "set")
_FLAGS = (
    "ACQ_IS_NOISE_MEASUREMENT", "ACQ_IS_NAVIGATION_DATA", "ACQ_IS_PHASECORR_DATA", "ACQ_IS_DUMMYSCAN_DATA",
)  # fmt: skip
_COMPLEX_BYTES = 8


class Measured(NamedTuple):
    """K-space of slices, zero frequency in the middle, and where the slices lie.

    Attributes:
        kspace: complex, ``(slices, coils, rows, columns)``.
        mask: what is sampled, boolean, ``(slices, rows, columns)``.
        field_mm: extent of a slice along rows, columns and across, millimetres.
        centre: of each slice, RAS millimetres, ``(slices, 3)``.
        axes: unit vectors down the rows, along the columns and across, as columns, RAS, ``(3, 3)``.
        has_mm: whether the file says millimetres; else a pixel of the whole k-space counts as 1 mm.
    """

    kspace: Tensor
    mask: Tensor
    field_mm: tuple[float, float, float]
    centre: NDArray[np.float64]
    axes: NDArray[np.float64]
    has_mm: bool = True

    def pixel_mm(self, size: tuple[int, ...]) -> tuple[float, float]:
        """Return the size of a pixel along rows and columns in mm, of so many of them."""
        return self.field_mm[0] / size[0], self.field_mm[1] / size[1]

    def affine(self, size: tuple[int, ...]) -> NDArray[np.float64]:
        """Return index ``(column, row, slice)`` to RAS millimetres of slices of so many rows and columns."""
        along, across = np.array(self.pixel_mm(size)[::-1]), self.axes[:, 2]
        step = self.centre[1] - self.centre[0] if len(self.centre) > 1 else across * self.field_mm[2]
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1], affine[:3, 2] = (
            self.axes[:, 1] * along[0], self.axes[:, 0] * along[1], step,
        )  # fmt: skip
        affine[:3, 3] = self.centre[0] - affine[:3, :2] @ (size[1] // 2, size[0] // 2)
        return affine


def read_kspace(path: str | PathLike[str]) -> Measured:
    """Read Cartesian k-space of one or several slices.

    ISMRMRD files (``.h5``, ``.hdf5``, ``.mrd``) hold lines of 2-D acquisitions; averages are averaged, and an
    oversampled readout is cropped. NPZ files hold ``samples``, ``(coils, n)``, and ``mask``, ``(rows,
    columns)``, in whose order they are; they say nothing of millimetres, so that a pixel counts as 1 mm.

    Raises:
        BadFileError: if the file is damaged, is not Cartesian and 2-D, or holds more than one image a slice.
        ImportError: if the package ``ismrmrd`` is missing.
    """
    source = Path(path)
    require_file(source, "a file of k-space")
    if source.suffix.lower() in _ISMRMRD:
        return _read_ismrmrd(source)
    if source.suffix.lower() != ".npz":
        raise BadFileError(
            f"{source}: {source.suffix or 'no ending'}, expected an ISMRMRD file (.h5, .mrd) or .npz with "
            "the arrays samples and mask."
        )
    return _read_npz(source)


def _read_npz(path: Path) -> Measured:
    try:
        arrays, names = read_npz(path, ("samples", "mask"))
    except BadFileError:
        raise
    except Exception as error:  # the libraries raise types of their own
        raise BadFileError(f"{path}: cannot be read, it is truncated or damaged; save it again.") from error
    if len(arrays) < 2:
        raise BadFileError(
            f"{path}: holds {', '.join(names) or 'nothing'}, expected the arrays samples and mask."
        )
    samples, mask = arrays["samples"], arrays["mask"].astype(bool)
    if mask.ndim != 2 or samples.ndim != 2 or samples.shape[1] != mask.sum() or samples.dtype.kind != "c":
        raise BadFileError(
            f"{path}: samples of shape {samples.shape} and type {samples.dtype}, a mask of {mask.shape} with "
            f"{int(mask.sum())} points; expected complex samples (coils, points) and a mask (rows, columns)."
        )
    kspace = np.zeros((len(samples), *mask.shape), np.complex64)
    kspace[:, mask] = samples
    rows, columns = mask.shape
    # Rows run down to the back of the patient, columns to the left, as people look at a slice.
    axes = np.array([[0.0, -1, 0], [-1, 0, 0], [0, 0, 1]])
    field = (float(rows), float(columns), 1.0)
    return Measured(
        torch.from_numpy(kspace)[None],
        torch.from_numpy(mask)[None],
        field,
        np.zeros((1, 3)),
        axes,
        has_mm=False,
    )


def _read_ismrmrd(path: Path) -> Measured:
    library = import_library("ismrmrd", path, "kspace")
    try:
        with library.File(str(path), mode="r") as file:
            names = [name for name in file if file[name].has_header() and file[name].has_acquisitions()]
            if not names:
                raise BadFileError(
                    f"{path}: holds no ISMRMRD header with acquisitions; export raw data again."
                )
            held = file[names[0]]
            return _sorted(path, held.header, list(held.acquisitions))
    except BadFileError:
        raise
    except Exception as error:  # HDF5 raises types of its own
        raise BadFileError(
            f"{path}: cannot be read as ISMRMRD, it is truncated or damaged; export it again."
        ) from error


def _sorted(path: Path, header: Any, read: list[Any]) -> Measured:
    """Put lines at their places."""
    import ismrmrd

    encoding = header.encoding[0]
    flags = [getattr(ismrmrd, flag) for flag in _FLAGS if hasattr(ismrmrd, flag)]
    lines = [line for line in read if not any(line.is_flag_set(flag) for flag in flags)]
    _check(path, encoding, lines)
    space, seen = encoding.encodedSpace, encoding.reconSpace
    rows, columns = space.matrixSize.y, space.matrixSize.x
    places = sorted({line.idx.slice for line in lines})
    first_of = [next(line for line in lines if line.idx.slice == place) for place in places]
    directions = [
        np.asarray(list(getattr(first_of[0], f"{name}_dir"))) for name in ("phase", "read", "slice")
    ]
    axes = LPS_TO_RAS[:3, :3] @ np.stack(directions, 1)
    centre = np.stack([list(line.position) for line in first_of]) @ LPS_TO_RAS[:3, :3]
    along = centre @ axes[:, 2]  # slices may be numbered as they were acquired
    order = np.argsort(along if along[-1] >= along[0] else -along, kind="stable")
    places, centre = [places[k] for k in order], centre[order]
    steps = np.diff(centre, axis=0)
    if len(steps) and np.ptp(steps, axis=0).max() > _SAME_MM:
        raise BadFileError(
            f"{path}: slices do not lie at equal distances in one direction; give one evenly spaced stack."
        )
    coils = lines[0].active_channels
    check_limit(path, _COMPLEX_BYTES * len(places) * coils * rows * columns)
    sums = np.zeros((len(places), coils, rows, columns), np.complex64)
    counts = np.zeros((len(places), rows, columns), np.int64)
    limit = encoding.encodingLimits.kspace_encoding_step_1
    middle = rows // 2 if limit is None else limit.center
    for line in lines:
        row = line.idx.kspace_encode_step_1 - middle + rows // 2
        first = columns // 2 - line.center_sample
        at = slice(first, first + line.number_of_samples)
        if not 0 <= row < rows or first < 0 or at.stop > columns:
            raise BadFileError(
                f"{path}: a line at step {line.idx.kspace_encode_step_1} with {line.number_of_samples} "
                f"samples lies outside the encoded space of {rows} × {columns}; check the header."
            )
        place = places.index(line.idx.slice)
        sums[place, :, row, at] += line.data
        counts[place, row, at] += 1
    kspace, mask = sums / np.maximum(counts, 1)[:, None].astype(np.float32), counts > 0
    field_x, times = space.fieldOfView_mm.x, space.fieldOfView_mm.x / seen.fieldOfView_mm.x
    if times > 1.01:
        kspace, mask = _without_oversampling(path, kspace, mask, times)
        field_x = seen.fieldOfView_mm.x
    field = (float(space.fieldOfView_mm.y), float(field_x), float(space.fieldOfView_mm.z))
    return Measured(torch.from_numpy(kspace), torch.from_numpy(mask), field, centre, axes)


def _check(path: Path, encoding: Any, lines: list[Any]) -> None:
    """Refuse what is not one Cartesian 2-D image a slice."""
    import ismrmrd

    kind = str(getattr(encoding.trajectory, "value", encoding.trajectory))
    if kind.lower() != "cartesian":
        raise BadFileError(f"{path}: a {kind} trajectory, expected cartesian; grid it first.")
    if not lines:
        raise BadFileError(
            f"{path}: holds no line of an image, only noise or navigators; export raw data again."
        )
    if any(line.is_flag_set(ismrmrd.ACQ_IS_REVERSE) for line in lines):
        raise BadFileError(f"{path}: lines that were read backwards (EPI), expected all in one direction.")
    if any(line.idx.kspace_encode_step_2 != lines[0].idx.kspace_encode_step_2 for line in lines):
        raise BadFileError(
            f"{path}: a 3-D acquisition, expected slices; transform the second phase encoding, then store "
            "slices."
        )
    for name in _ONLY_ONE:
        found = {getattr(line.idx, name) for line in lines}
        if len(found) > 1:
            raise BadFileError(f"{path}: holds {len(found)} images a slice ({name}); store one of them.")
    if len({line.active_channels for line in lines}) > 1:
        raise BadFileError(f"{path}: its lines have different numbers of coils; export raw data again.")


def _without_oversampling(
    path: Path, kspace: NDArray[Any], mask: NDArray[np.bool_], times: float
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Keep the middle of images along the readout, all of whose points are sampled in each line."""
    is_line = np.asarray(mask.any(-1))
    if not mask[is_line].all():
        raise BadFileError(
            f"{path}: an oversampled readout with partial echoes, whose middle cannot be cut out; fill the "
            "echoes, or export without oversampling."
        )
    columns = mask.shape[-1]
    kept = 2 * round(columns / times / 2)
    start = (columns - kept) // 2
    shifted = np.fft.ifft(np.fft.ifftshift(kspace, axes=-1), axis=-1, norm="ortho")
    images = np.fft.fftshift(shifted, axes=-1)[..., start : start + kept]
    cut = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(images, axes=-1), axis=-1, norm="ortho"), axes=-1)
    return cut.astype(np.complex64), np.broadcast_to(is_line[..., None], (*is_line.shape, kept)).copy()
