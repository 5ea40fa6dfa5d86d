"""DICOM objects read back with pydicom and highdicom: each pixel where the NIfTI has it, unit, source."""

from __future__ import annotations

import json
import warnings

import nibabel
import numpy as np
import pytest
from known_result import PARAMETERS, SHAPE, maps_of, refused, write_result

hd = pytest.importorskip("highdicom", reason='highdicom is missing: pip install "monai_inn[dicom]"')
pydicom = pytest.importorskip("pydicom", reason='pydicom is missing: pip install "monai_inn[dicom]"')
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian, generate_uid  # noqa: E402
from scipy.spatial.transform import Rotation  # noqa: E402

from monai_inn.cli import main  # noqa: E402
from monai_inn.reports.dicom.maps import padding_value, ucum  # noqa: E402
from monai_inn.reports.exporting import export_result  # noqa: E402

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
PICTURE = np.array([[0.0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]])
TURN = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix()
MR = "1.2.840.10008.5.1.4.1.1.4"


def oblique(spacing=(0.5, 0.8, 3.0), origin=(-12.3, 45.6, 7.8)):
    """Index (i, j, k) to RAS millimetres, no axis along the patient."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = TURN * spacing, origin
    return affine


def mirrored(affine, axis, size):
    """The same grid with an axis counted backwards, as NIfTI converters like to."""
    flip = np.eye(4)
    flip[axis, axis], flip[axis, 3] = -1, size - 1
    return affine @ flip


def swapped(affine):
    return affine[:, [1, 0, 2, 3]]


@pytest.fixture(autouse=True)
def strict():
    """Reading must not warn of anything."""
    before = pydicom.config.settings.reading_validation_mode
    pydicom.config.settings.reading_validation_mode = pydicom.config.RAISE
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield
    pydicom.config.settings.reading_validation_mode = before


def places(dataset):
    """RAS millimetres ``(frames, rows, columns, 3)`` of the pixels of a multi-frame object."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    spacing = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float)
    row, column = np.indices((dataset.Rows, dataset.Columns))
    inside = (
        column[..., None] * cosines[0] * spacing[1] + row[..., None] * cosines[1] * spacing[0]
    )  # PS3.3 C.7.6.2.1.1
    first = [frame.PlanePositionSequence[0].ImagePositionPatient
             for frame in dataset.PerFrameFunctionalGroupsSequence]  # fmt: skip
    lps = np.array(first, float)[:, None, None] + inside
    return lps * (-1, -1, 1)


def index_of(dataset, affine):
    """Index (i, j, k) of each pixel in the NIfTI, which must be a whole number."""
    inverse = np.linalg.inv(affine)
    index = places(dataset) @ inverse[:3, :3].T + inverse[:3, 3]
    np.testing.assert_allclose(index, index.round(), atol=2e-3)
    return tuple(np.moveaxis(index.round().astype(int), -1, 0))


def check_values(out, folder, affine):
    """Every pixel of every object has the value of the NIfTI at the same place."""
    for kind in ("median", "interval_width"):
        arrays, trusted = maps_of(folder, kind)
        for name, array in arrays.items():
            dataset = pydicom.dcmread(out / "dicom" / f"{kind}_{name}.dcm")
            at = index_of(dataset, affine)
            assert sorted(zip(*(a.ravel() for a in at), strict=True)) == sorted(np.ndindex(array.shape))
            stored = dataset.pixel_array.reshape(at[0].shape)
            assert stored.dtype == np.float32
            np.testing.assert_array_equal(stored[trusted[at]], array[at][trusted[at]])
            assert (stored[~trusted[at]] == dataset.FloatPixelPaddingValue).all()
    return arrays


@pytest.mark.parametrize(
    "affine",
    [
        PICTURE,
        np.diag([0.5, 0.25, 2.0, 1.0]),
        oblique(),
        mirrored(oblique(), 1, SHAPE[1]),
        swapped(oblique()),
        np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.eye(4)[[2, 0, 1, 3]],
    ],
    ids=["picture", "ras", "oblique", "left-handed", "swapped", "sagittal"],
)
def test_pixels_lie_where_the_nifti_has_them(tmp_path, affine):
    folder = write_result(tmp_path / "result", affine)
    export_result(folder, tmp_path / "out", formats=("dicom",))
    arrays = check_values(tmp_path / "out", folder, affine)
    volume = hd.imread(tmp_path / "out/dicom/interval_width_sao2.dcm").get_volume()
    at = np.argwhere(volume.array > 0)
    ras = volume.map_indices_to_reference(at) * (-1, -1, 1)
    index = (ras - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    expected = arrays["sao2"][tuple(index.round().astype(int).T)]
    np.testing.assert_array_equal(volume.array[tuple(at.T)].astype(np.float32), expected)
    assert len(at) == 7 * 5 * 3 - 3 - 6


def test_pictures_stand_upright(tmp_path):
    """Viewers show the left of the patient to the right and the back below; NIfTI counts the other way."""
    for name, affine in (("ras", np.eye(4)), ("picture", PICTURE)):
        folder = write_result(tmp_path / name, affine)
        export_result(folder, tmp_path / f"{name}_out", formats=("dicom",))
        dataset = pydicom.dcmread(tmp_path / f"{name}_out/dicom/median_sao2.dcm")
        groups = dataset.SharedFunctionalGroupsSequence[0]
        assert groups.PlaneOrientationSequence[0].ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
        assert (dataset.Rows, dataset.Columns) == ((5, 7) if name == "ras" else (7, 5))


def test_an_image_of_one_slice(tmp_path):
    folder = write_result(tmp_path / "result", PICTURE, shape=(7, 5, 1))
    export_result(folder, tmp_path / "out", formats=("dicom",))
    check_values(tmp_path / "out", folder, PICTURE)


def test_units_codes_and_marks(tmp_path):
    folder = write_result(tmp_path / "result", oblique())
    report = export_result(folder, tmp_path / "out", formats=("dicom",))
    paddings = {e["file"]: e["padding"] for e in report["files"] if "padding" in e}
    codes = {"sao2": "1", "a_mie": "/cm", "shift": "mm"}
    for kind in ("median", "interval_width"):
        arrays, trusted = maps_of(folder, kind)
        for row in PARAMETERS:
            name = row["name"]
            dataset = pydicom.dcmread(tmp_path / f"out/dicom/{kind}_{name}.dcm")
            mapping = dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
            unit = mapping.MeasurementUnitsCodeSequence[0]
            assert (unit.CodeValue, unit.CodingSchemeDesignator) == (codes[name], "UCUM")
            assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
            known = arrays[name][trusted]
            padding = dataset.FloatPixelPaddingValue
            assert mapping.DoubleFloatRealWorldValueFirstValueMapped == padding
            assert mapping.DoubleFloatRealWorldValueLastValueMapped == known.max()
            assert padding == paddings[f"dicom/{kind}_{name}.dcm"]
            assert padding == (-100 if (kind, name) == ("median", "shift") else -1)
            assert padding < known.min()
            quantity, statistic = mapping.QuantityDefinitionSequence
            assert quantity.ConceptCodeSequence[0].CodeValue == name
            assert quantity.ConceptCodeSequence[0].CodeMeaning == row["description"][:64]
            meaning = statistic.ConceptCodeSequence[0].CodeMeaning
            assert meaning == ("Median" if kind == "median" else "width of 95 % interval, credible")
    for path in (tmp_path / "out/dicom").iterdir():
        dataset = pydicom.dcmread(path)
        assert "RESEARCH ONLY" in dataset.SeriesDescription
        assert "RESEARCH ONLY" in dataset.StudyDescription
        assert "Gewebe_ä.hdr" in dataset.ImageComments
        assert str(dataset.PatientName).rstrip("^") == "ANONYMOUS"
        assert len(dataset.SeriesDescription) <= 64


def test_adequacy_is_a_parametric_map_of_its_own(tmp_path):
    folder = write_result(tmp_path / "result", oblique(), adequacy=True)
    report = export_result(folder, tmp_path / "out", formats=("dicom",))
    (entry,) = [e for e in report["files"] if e.get("map") == "adequacy"]
    assert (entry["file"], entry["unit"], entry["padding"]) == ("dicom/adequacy.dcm", "1", -1)
    dataset = pydicom.dcmread(tmp_path / "out" / entry["file"])
    stored = np.asarray(nibabel.load(folder / "adequacy.nii.gz").dataobj)
    trusted = maps_of(folder)[1]
    expected = np.where(trusted, stored, -1)[index_of(dataset, oblique())]
    np.testing.assert_array_equal(
        np.frombuffer(dataset.FloatPixelData, "<f4").reshape(expected.shape), expected
    )
    mapping = dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    quantity, statistic = (item.ConceptCodeSequence[0] for item in mapping.QuantityDefinitionSequence)
    assert quantity.CodeMeaning == "p-value of the fit, low: the model does not fit"
    assert statistic.CodeMeaning == "Posterior-predictive p-value"
    numbers = [pydicom.dcmread(path).SeriesNumber for path in (tmp_path / "out/dicom").glob("*.dcm")]
    assert len({*numbers} - {min(numbers)}) == 2 * len(PARAMETERS) + 2  # maps, adequacy, segmentation


def test_withheld_pixels_are_a_segmentation(tmp_path):
    affine = oblique()
    folder = write_result(tmp_path / "result", affine)
    export_result(folder, tmp_path / "out", formats=("dicom",))
    made = hd.seg.segread(tmp_path / "out/dicom/withheld.dcm")
    assert [d.segment_label for d in made.SegmentSequence] == ["Out of distribution", "No usable measurement"]
    algorithm = made.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion[:2]) == ("monai_inn", "0.")
    assert "false_alarm=0.05" in algorithm.AlgorithmParameters
    valid = nibabel.load(folder / "valid.nii.gz").get_fdata() > 0
    ood = nibabel.load(folder / "ood.nii.gz").get_fdata() > 0
    at, frames = index_of(made, affine), made.pixel_array
    number = [f.SegmentIdentificationSequence[0].ReferencedSegmentNumber
              for f in made.PerFrameFunctionalGroupsSequence]  # fmt: skip
    for f, n in enumerate(number):
        expected = (ood if n == 1 else ~valid)[tuple(a[f] for a in at)]
        np.testing.assert_array_equal(frames[f] > 0, expected)
    assert sorted(number) == [1] * 3 + [2] * 3


def with_regions(folder, affine, labels, **changed):
    """Add regions of decision, as 3D Slicer writes them, to a result."""
    nibabel.save(nibabel.Nifti1Image(labels, affine), folder / "regions.nii.gz")
    record = json.loads((folder / "result.json").read_text())
    entry = {"file": "regions.nii.gz", "map": "regions", "parameter": "a_mie", "unit": "1"}
    record["files"].append(entry)
    record["regions"] = {"parameter": "a_mie", "threshold": 20.5, "is_above": True, "certain": 0.9,
                         "possible": 0.1, "smallest": 30.0} | changed  # fmt: skip
    (folder / "result.json").write_text(json.dumps(record))
    return folder


def test_regions_of_decision_are_a_segmentation_of_their_own(tmp_path):
    affine = oblique()
    labels = np.random.default_rng(0).integers(0, 4, SHAPE).astype(np.uint8)
    folder = with_regions(write_result(tmp_path / "result", affine), affine, labels)
    report = export_result(folder, tmp_path / "out", formats=("dicom",))
    (entry,) = [e for e in report["files"] if e["file"] == "dicom/regions.dcm"]
    assert entry["regions"]["threshold"] == 20.5
    made = hd.seg.segread(tmp_path / "out/dicom/regions.dcm")
    assert [d.segment_label for d in made.SegmentSequence] == [
        "certain: a_mie > 20.5 1/cm (P at least 90 %)",
        "possible: a_mie > 20.5 1/cm (P 10 % to 90 %)",
        "unknown / not trusted",
    ]
    algorithm = made.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert "threshold=20.5" in algorithm.AlgorithmParameters
    at, frames = index_of(made, affine), made.pixel_array
    number = [f.SegmentIdentificationSequence[0].ReferencedSegmentNumber
              for f in made.PerFrameFunctionalGroupsSequence]  # fmt: skip
    for f, n in enumerate(number):
        np.testing.assert_array_equal(frames[f] > 0, labels[tuple(a[f] for a in at)] == n)
    assert sorted(number) == sorted([1, 2, 3] * 3)
    series = {pydicom.dcmread(path).SeriesInstanceUID for path in (tmp_path / "out/dicom").glob("*.dcm")}
    assert len(series) == 2 * len(PARAMETERS) + 3  # maps, two segmentations, the image


@pytest.mark.parametrize(("value", "parameter"), [(7, "a_mie"), (1, "flow")])
def test_regions_that_mean_nothing_are_refused(tmp_path, value, parameter):
    folder = write_result(tmp_path / "result", oblique())
    with_regions(folder, oblique(), np.full(SHAPE, value, np.uint8), parameter=parameter)
    with pytest.raises(ValueError, match=f"the regions of {parameter} are missing or damaged"):
        export_result(folder, tmp_path / "out", formats=("dicom",))
    assert not (tmp_path / "out").exists()


def test_nothing_withheld_gives_an_empty_segment(tmp_path):
    folder = write_result(tmp_path / "result", oblique())
    for name, value in (("ood", 0.0), ("valid", 1.0)):
        image = nibabel.load(folder / f"{name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(np.full(image.shape, value, np.float32), oblique()),
                     folder / f"{name}.nii.gz")  # fmt: skip
    for row in PARAMETERS:
        for kind in ("median", "interval_width"):
            path = folder / f"{kind}_{row['name']}.nii.gz"
            filled = np.nan_to_num(nibabel.load(path).get_fdata(), nan=0.3).astype(np.float32)
            nibabel.save(nibabel.Nifti1Image(filled, oblique()), path)
    export_result(folder, tmp_path / "out", formats=("dicom",))
    made = hd.seg.segread(tmp_path / "out/dicom/withheld.dcm")
    assert made.segment_numbers == [1]
    assert not made.pixel_array.any()


def test_own_study_shows_the_image_in_the_same_frame(tmp_path):
    folder = write_result(tmp_path / "result", PICTURE)
    export_result(folder, tmp_path / "out", formats=("dicom",))
    photo = np.asarray(nibabel.load(folder / "photo.nii.gz").dataobj)
    made = pydicom.dcmread(tmp_path / "out/dicom/median_sao2.dcm")
    pictures = [pydicom.dcmread(tmp_path / f"out/dicom/image_{n + 1:03d}.dcm") for n in range(3)]
    for k, picture in enumerate(pictures):
        assert picture.ImageType[0] == "DERIVED"
        np.testing.assert_array_equal(picture.pixel_array, photo[:, :, k])
        assert picture.ImagePositionPatient[2] == -k
        for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
            assert picture[keyword].value == made[keyword].value
    referred = {item.ReferencedSOPInstanceUID for item in made.SourceImageSequence}
    assert referred == {picture.SOPInstanceUID for picture in pictures}


def test_without_a_photo_usable_pixels_are_white(tmp_path):
    folder = write_result(tmp_path / "result", PICTURE, photo=False)
    export_result(folder, tmp_path / "out", formats=("dicom",))
    shown = pydicom.dcmread(tmp_path / "out/dicom/image_001.dcm").pixel_array
    assert shown.min(axis=(0, 1)).tolist() == [0, 0, 0]
    assert (shown == 255).all(-1).sum() == 7 * 5 - 1


def write_series(folder, affine_ras, shape, bands=1, **changed):
    """A series of MR slices whose columns run along i, rows along j, and slices along k."""
    folder.mkdir(exist_ok=True)
    lps = LPS @ affine_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    made = []
    for n in range(shape[2] * bands):
        ds, k = Dataset(), n // bands
        ds.SpecificCharacterSet = "ISO_IR 100"
        ds.SOPClassUID, ds.SOPInstanceUID = MR, generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = (
            "Müller^Jörg",
            "4711",
            "19700101",
            "M",
        )
        ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20260102", "101112", "7", "A1"
        ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "MR", 3, n + 1
        ds.Rows, ds.Columns = shape[1], shape[0]
        ds.ImageOrientationPatient = [f"{x:.10g}" for x in (lps[:3, :2] / spacing[:2]).T.ravel()]
        ds.ImagePositionPatient = [f"{x:.10g}" for x in lps[:3, 3] + k * lps[:3, 2]]
        ds.PixelSpacing, ds.SliceThickness = [f"{x:.10g}" for x in spacing[[1, 0]]], 5.0
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.PixelData = bytes(2 * shape[0] * shape[1])
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        for keyword, value in changed.items():
            if value is None:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)
        ds.save_as(folder / f"{generate_uid()}.dcm", enforce_file_format=True)
        made.append(ds)
    return made


@pytest.mark.parametrize("bands", [1, 2])
@pytest.mark.parametrize(
    "convert",
    [
        lambda a: (a, SHAPE),
        lambda a: (mirrored(a, 1, SHAPE[1]), SHAPE),
        lambda a: (swapped(mirrored(mirrored(a, 2, SHAPE[2]), 0, SHAPE[0])), (5, 7, 3)),
    ],
    ids=["as-itk", "as-dcm2niix", "rows-first"],
)
def test_source_series_is_taken_over(tmp_path, convert, bands):
    series = write_series(tmp_path / "series", oblique(), SHAPE, bands)
    (tmp_path / "series/README.txt").write_text("no DICOM, which does not matter")
    affine, shape = convert(oblique())
    folder = write_result(tmp_path / "result", affine, shape)
    export_result(folder, tmp_path / "out", formats=("dicom",), source=tmp_path / "series")
    check_values(tmp_path / "out", folder, affine)
    instances = {ds.SOPInstanceUID for ds in series}
    assert not list((tmp_path / "out/dicom").glob("image_*"))
    for path in (tmp_path / "out/dicom").iterdir():
        made = pydicom.dcmread(path)
        for keyword in (
            "StudyInstanceUID", "FrameOfReferenceUID", "PatientName", "PatientID", "PatientBirthDate",
            "PatientSex", "StudyDate", "StudyID", "AccessionNumber",
        ):  # fmt: skip
            assert made[keyword].value == series[0][keyword].value, keyword
        assert made.SeriesInstanceUID != series[0].SeriesInstanceUID
        assert {item.ReferencedSOPInstanceUID for item in made.SourceImageSequence} == instances
        assert made.ReferencedSeriesSequence[0].SeriesInstanceUID == series[0].SeriesInstanceUID
        positions = {ds.SOPInstanceUID: ds.ImagePositionPatient for ds in series}
        for frame in made.PerFrameFunctionalGroupsSequence:
            sources = frame.DerivationImageSequence[0].SourceImageSequence
            assert len(sources) in (1, bands)
            for item in sources:
                np.testing.assert_allclose(
                    np.array(positions[item.ReferencedSOPInstanceUID], float),
                    np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float), atol=1e-4,
                )  # fmt: skip


def test_single_slice_may_be_of_any_thickness(tmp_path):
    shape = (7, 5, 1)
    write_series(tmp_path / "series", oblique((0.5, 0.8, 4.0)), shape)
    folder = write_result(tmp_path / "result", oblique((0.5, 0.8, 1.0)), shape)
    export_result(folder, tmp_path / "out", formats=("dicom",), source=tmp_path / "series")
    check_values(tmp_path / "out", folder, oblique((0.5, 0.8, 1.0)))


def test_source_may_be_one_file_of_many_frames(tmp_path):
    """The maps of one export serve as the multi-frame source of another."""
    folder = write_result(tmp_path / "result", oblique())
    export_result(folder, tmp_path / "first", formats=("dicom",))
    (tmp_path / "series").mkdir()
    (tmp_path / "first/dicom/median_sao2.dcm").rename(tmp_path / "series/many.dcm")
    source = pydicom.dcmread(tmp_path / "series/many.dcm")
    export_result(folder, tmp_path / "out", formats=("dicom",), source=tmp_path / "series")
    check_values(tmp_path / "out", folder, oblique())
    made = pydicom.dcmread(tmp_path / "out/dicom/median_sao2.dcm")
    assert [i.ReferencedSOPInstanceUID for i in made.SourceImageSequence] == [source.SOPInstanceUID]


def test_sources_without_what_may_be_empty(tmp_path):
    gone = dict.fromkeys(("PatientBirthDate", "StudyTime", "AccessionNumber", "PatientSex", "StudyID"))
    write_series(tmp_path / "series", oblique(), SHAPE, StudyDate="", PatientName="single", **gone)
    folder = write_result(tmp_path / "result", oblique())
    export_result(folder, tmp_path / "out", formats=("dicom",), source=tmp_path / "series")
    made = pydicom.dcmread(tmp_path / "out/dicom/withheld.dcm")
    assert (made.PatientBirthDate, made.StudyDate, made.PatientName) == ("", "", "single")


def two_series(folder):
    write_series(folder, oblique(), SHAPE)
    write_series(folder, oblique(), SHAPE)


def a_slice_short(folder):
    write_series(folder, oblique(), (*SHAPE[:2], 4))
    next(path for path in folder.iterdir() if pydicom.dcmread(path).InstanceNumber == 2).unlink()


def truncated(folder):
    write_series(folder, oblique(), SHAPE)
    path = next(folder.iterdir())
    path.write_bytes(path.read_bytes()[:420])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: None, "no such folder"),
        (lambda f: f.mkdir(), "holds no DICOM image"),
        (lambda f: (f.mkdir(), (f / "a.dcm").write_text("no DICOM")), "holds no DICOM image"),
        (two_series, "holds 2 series"),
        (lambda f: write_series(f, oblique(), (7, 5, 4)), "lies elsewhere than the maps: 4 × 5 × 7 pixels"),
        (lambda f: write_series(f, oblique(origin=(0, 0, 0)), SHAPE), "infer without --shrink"),
        (lambda f: write_series(f, oblique((0.5, 0.81, 3)), SHAPE), "lies elsewhere"),
        (lambda f: write_series(f, PICTURE, SHAPE), "lies elsewhere"),
        (a_slice_short, "do not form a regular grid"),
        (lambda f: write_series(f, oblique(), SHAPE, FrameOfReferenceUID=None), "no frame of reference"),
        (lambda f: write_series(f, oblique(), SHAPE, ImagePositionPatient=None), "do not say where they lie"),
        (lambda f: write_series(f, oblique(), SHAPE, PixelSpacing=None), "do not say where they lie"),
        (truncated, "DICOM"),
    ],
)  # fmt: skip
def test_sources_that_do_not_fit_are_one_clear_line(tmp_path, capsys, make, message):
    folder = write_result(tmp_path / "result", oblique())
    make(tmp_path / "series")
    options = ("--format", "dicom", "--source", tmp_path / "series")
    line = refused(capsys, "export", folder, "-o", tmp_path / "out", *options)
    assert message in line
    assert {path.name for path in tmp_path.iterdir()} <= {"result", "series"}


def test_sheared_maps_are_refused(tmp_path, capsys):
    affine = np.eye(4)
    affine[0, 1] = 0.2
    folder = write_result(tmp_path / "result", affine)
    line = refused(capsys, "export", folder, "-o", tmp_path / "out", "--format", "dicom")
    assert "not at right angles" in line


def test_patients_are_not_complained_about(tmp_path, capsys):
    write_series(tmp_path / "series", oblique(), SHAPE, PatientName="single")
    folder = write_result(tmp_path / "result", oblique())
    options = ["--format", "dicom", "--source", str(tmp_path / "series")]
    assert main(["export", str(folder), "-o", str(tmp_path / "out"), *options]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "dicom: " in captured.out


def test_units_and_paddings():
    assert [ucum(unit)[0] for unit in ("1", "1/cm", "g/l", "mm", "rad", "°")] == [
        "1", "/cm", "g/L", "mm", "rad", "deg",
    ]  # fmt: skip
    assert ucum("1e-3 mm²/s")[0] == "10*-3.mm2/s"
    assert [ucum(unit)[0] for unit in ("ml/100 g/min", "mM", "µm", "grey level", "1/min")] == [
        "mL/(100.g)/min", "mmol/L", "um", "{grey level}", "/min",
    ]  # fmt: skip
    assert [padding_value(x) for x in (0.0, -0.5, -1.0, -9.9, -1e5)] == [-1.0, -1.0, -10.0, -10.0, -1e6]
