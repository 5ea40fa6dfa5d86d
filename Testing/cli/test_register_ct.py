"""Registration straight from a CT: the pose of a realistic X-ray, its width, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
from contextlib import contextmanager

import nibabel
import numpy as np
import pytest
import torch
from cli_commands import refused, run
from ct_phantom import DETECTOR, POSE, intensity, phantom_ct, write_ct, write_xray
from matplotlib.cbook import get_sample_data
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

from monai_inn.applications.registration.carm import POSE as NAMES
from monai_inn.applications.registration.carm import WIDE_RANGES, camera_to_world, gantry_motion, pose_of
from monai_inn.applications.registration.poses.forecast import LikelihoodForecast
from monai_inn.applications.registration.poses.solver import Solver
from monai_inn.applications.registration.projection import AttenuationVolume
from monai_inn.applications.registration.results.from_ct import register_to_ct

pytest.importorskip("nanodrr")
TARGET = (0.0, 0.0, 0.0)
READING = {"contrast": "intensity", "spacing_mm": DETECTOR.spacing_mm}
SOME_VIEWS = WIDE_RANGES | {"lao": (0.0, 50.0)}  # fewer to search, where the search is not the question


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ct")
    return write_ct(folder / "ct.nii.gz"), write_xray(folder / "xray.png", intensity()), folder


@pytest.fixture(scope="module")
def patient(files):
    ct, _, folder = files
    side = DETECTOR.columns * DETECTOR.spacing_mm
    assert run("prepare", ct, "--side", side, "--target", 0, 0, 0, "-o", folder / "patient") == 0
    return folder / "patient"


@pytest.fixture(scope="module")
def answers() -> dict:
    """What X-rays of the patient say alone, by X-ray and prior."""
    return {}


@contextmanager
def searched_once(answers):
    """An X-ray says the same alone, whatever others it is joined with, and is searched once."""
    solve = Solver.solve

    def once(self, images, samples, seed, progress, left_out):
        assert left_out is None
        parts = [part.numpy().tobytes() for part in (images[-1][1], *self.unknowns)]
        key = (*parts, images[-1][0], samples, seed)
        if key not in answers:
            answers[key] = solve(self, images, samples, seed, progress)
        return answers[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Solver, "solve", once)
        yield


@pytest.fixture
def once(answers):
    with searched_once(answers):
        yield


@pytest.fixture(autouse=True)
def quick_overview(monkeypatch):
    """A dot in the place of the overview, but for that of `found`."""

    def dot(*arguments):
        *_, path, _ = arguments
        Image.new("L", (1, 1)).save(path)

    monkeypatch.setattr("monai_inn.applications.registration.results.figures.pose_figure", dot)


@pytest.fixture
def searched_briefly(monkeypatch):
    """Without the second and wider search that X-rays get which little explains."""
    monkeypatch.setattr("monai_inn.applications.registration.poses.solver._HOPELESS", 1.0)


@pytest.fixture(scope="module")
def found(files, patient, answers):
    _, xray, folder = files
    with searched_once(answers):
        return register_to_ct(patient, xray, folder / "out", **READING), folder / "out"


def error(record: dict) -> torch.Tensor:
    pose = record["modes"][0]["pose"]
    return torch.tensor([pose[name] for name in NAMES]).double() - POSE


def test_all_six_unknowns_are_found(found):
    away = error(found[0])
    assert away[:3].abs().max() < 0.5
    assert away[3:5].abs().max() < 0.5
    assert away[5].abs() < 5


def test_the_truth_is_within_the_claimed_widths(found):
    spread = found[0]["modes"][0]["spread"]
    distance = error(found[0]) / torch.tensor([spread[name] for name in NAMES]).double()
    assert distance.abs().max() < 5


def test_the_folder_holds_what_a_bundle_would_leave(found):
    record, folder = found
    for name in (
        "overview.png",
        "xray.nii.gz",
        "bone.nii.gz",
        "drr_1.nii.gz",
        "pose_1.tfm",
        "samples.npz",
        "samples.csv",
    ):
        assert (folder / name).stat().st_size > 0
    assert (
        json.loads((folder / "registration.json").read_text())["modes"][0]["pose"]
        == record["modes"][0]["pose"]
    )
    samples = np.load(folder / "samples.npz")
    assert samples["pose"].shape == (1000, 6)
    assert record["trust"]["is_trusted"]
    assert record["residual"]["unexplained"] is None
    assert record["warnings"] == []
    # The exposure is fitted, so that air need not be in the image.
    assert not any("air must be" in note or note.startswith("0%") for note in record["xray"]["notes"])
    assert record["weights"]["log_evidence_nats"] < 0
    assert record["residual"]["chi_square_per_pixel"] == pytest.approx(1, abs=0.1)
    assert record["weights"]["effective"] > 0.3 * record["weights"]["proposals"]


def test_another_exposure_and_a_collimator_change_nothing(files, patient):
    _, _, folder = files
    image = 0.35 * intensity(seed=1)
    image[:14], image[:, -20:] = 0.004, 0.004
    xray = write_xray(folder / "collimated.png", image)
    away = error(register_to_ct(patient, xray, folder / "collimated", **READING))
    assert away[:3].abs().max() < 1
    assert away[3:5].abs().max() < 1


@pytest.mark.slow  # the limb below is the harder case of the same
def test_an_x_ray_of_something_else_is_not_trusted(files, patient):
    _, _, folder = files
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    ripples = np.exp(-1.5 - np.sin(9 * x + 4 * y) * np.cos(7 * y - 3 * x))
    xray = write_xray(folder / "ripples.png", ripples)
    record = register_to_ct(patient, xray, folder / "ripples", samples=100, **READING)
    assert not record["trust"]["is_trusted"]
    assert "Do not use" in record["trust"]["statement"]


def test_known_parameters_stay(files):
    ct, xray, folder = files
    fixed = {"roll": 3.0, "right": 5.0, "down": -7.0, "away": 12.0}
    free = {"lao": (-180.0, 180.0), "cra": (-30.0, 30.0)}
    image = nibabel.load(ct)
    labels = nibabel.Nifti1Image(np.ones(image.shape, np.uint8), image.affine)
    nibabel.save(labels, folder / "labels.nii.gz")
    kept = {"labels": folder / "labels.nii.gz", "keep": [1]}  # all of it, which is warned of as any other
    record = register_to_ct(
        ct, xray, folder / "fixed", free=free, fixed=fixed, samples=100, target=TARGET, **kept, **READING
    )
    assert "Only the structures that --keep names" in record["warnings"][0]
    assert {n: record["modes"][0]["pose"][n] for n in fixed} == fixed
    assert error(record)[:2].abs().max() < 0.5


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--reweight"], "--reweight is not for a CT"),
        (["--false-alarm", "0"], "--false-alarm is not for a CT"),
        (["--device", "cuda"], "--device cuda is for a bundle; with a CT the CPU computes"),
        (["--gantry-sd", "-5"], "turned by -5° (standard deviation); give more than 0 and at most 180°"),
        (["--gantry-sd", "0"], "turned by 0°"),
        (["--gantry-sd", "nan"], "turned by nan°"),
        (["--labels", "labels.nii.gz"], "labels and the numbers to keep come together"),
        (["--fixed", "roll=3", "--range", "roll=0:5"], "roll is free and fixed"),
        (["--fixed", "roll=500"], "roll is fixed at 500; give deg within ±360"),
        (["--fixed", "away=-2000"], "away is fixed at -2000; give mm within ±500"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(files, capsys, extra, said):
    ct, xray, folder = files
    reading = ("--contrast", "intensity", "--spacing", 1.8)
    assert said in refused(capsys, "register", ct, xray, "-o", folder / "refused", *reading, *extra)
    assert not (folder / "refused").exists()


def test_an_unknown_spacing_is_asked_for(files, capsys):
    ct, xray, folder = files
    told = refused(capsys, "register", ct, xray, "-o", folder / "refused", "--contrast", "intensity")
    assert "give --spacing" in told
    told = refused(capsys, "register", ct, xray, "-o", folder / "refused")
    assert "give --contrast intensity (bone dark)" in told
    assert "and --spacing" in told


def test_ct_and_x_ray_exchanged_are_told(files, tmp_path, capsys):
    ct, xray, _ = files
    told = refused(capsys, "register", xray, ct, "-o", tmp_path / "o")
    assert "CT and X-ray seem to be exchanged" in told
    assert "give the CT first" in told
    missing = refused(capsys, "register", tmp_path / "none.nii.gz", xray, "-o", tmp_path / "o")
    assert "none.nii.gz: no such file; check the path." in missing


def test_a_small_image_is_refused(files, capsys):
    ct, _, folder = files
    xray = write_xray(folder / "small.png", intensity()[:64, :64])
    reading = ("--contrast", "intensity", "--spacing", 1.8)
    told = refused(capsys, "register", ct, xray, "-o", folder / "refused", *reading)
    assert "64 × 64 pixels; 128 along the longer side are needed" in told


@pytest.mark.parametrize("option", [("--target", 0, 0, 0), ("--gantry-sd", 0), ("--source-sd", 0)])
def test_options_of_a_ct_are_refused_with_a_bundle(capsys, tmp_path, option):
    told = refused(capsys, "register", tmp_path, "x.png", "-o", tmp_path / "o", *option)
    assert f"{option[0]} is not for a bundle" in told


def test_many_x_rays_of_a_ct_are_told_to_prepare_it(tmp_path, capsys):
    (tmp_path / "ct.nii.gz").write_bytes(b"")
    run("register", tmp_path / "ct.nii.gz", tmp_path / "*.png", "-o", tmp_path / "o")
    assert "WARNING: the CT is made ready anew for each X-ray; quicker" in capsys.readouterr().err


def test_a_prepared_patient_gives_what_its_ct_gives_and_the_command_says_it(files, found, capsys):
    ct, xray, folder = files
    code = run("register", ct, xray, "-o", folder / "direct", "--contrast", "intensity", "--spacing", "1.8",
                "--target", 0, 0, 0, "--range", "lao=0:50")  # fmt: skip
    assert code == 0
    assert "24° LAO, 6° CRA" in capsys.readouterr().out
    record = json.loads((folder / "direct" / "registration.json").read_text())
    ours, theirs = (r["modes"][0] for r in (record, found[0]))
    for name in NAMES:  # the edges of the search are kept to half precision
        assert ours["pose"][name] == pytest.approx(theirs["pose"][name], abs=0.1 * theirs["spread"][name])
    assert record["bundle"]["sha256"] == found[0]["bundle"]["sha256"]


@pytest.mark.parametrize("name", ["patient.safetensors", "patient.json"])
def test_a_damaged_patient_is_refused_in_one_line(files, patient, tmp_path, capsys, name):
    _, xray, _ = files
    copy = shutil.copytree(patient, tmp_path / "copy")
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 0xFF
    (copy / name).write_bytes(bytes(content))
    reading = ("--contrast", "intensity", "--spacing", 1.8)
    told = refused(capsys, "register", copy, xray, "-o", tmp_path / "o", *reading)
    assert "patient.json" in told or "prepare the patient again" in told
    assert not (tmp_path / "o").exists()


def test_views_of_a_patient_need_no_bundle(files, patient, found, tmp_path, capsys):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LikelihoodForecast, "xrays", 1)  # of each view; two below, and of the CT
        assert run("views", patient, "-o", tmp_path / "first", "--step", 90) == 0
    assert "The pose will be known best after a view at" in capsys.readouterr().out
    with (tmp_path / "first" / "views.csv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 4
    assert all(0 < float(row["error [mm]"]) < 3 for row in rows)
    after = ("--after", found[1], "--step", 90)
    assert run("views", patient, "-o", tmp_path / "second", *after) == 0
    second = json.loads((tmp_path / "second" / "views.json").read_text())
    assert second["bundle"] == found[0]["bundle"]
    # From the same side again the depth stays as it was; from the left or right it is seen.
    with (tmp_path / "second" / "views.csv").open(encoding="utf-8") as table:
        left, same, right = (float(row["error [mm]"]) for row in csv.DictReader(table))
    assert max(left, right) < same
    assert f"{second['best']['error_mm']:.1f} mm at bone" in second["statement"]


def test_views_of_a_ct_ask_for_its_c_arm(files, patient, tmp_path, capsys):
    ct, out = files[0], tmp_path / "o"
    assert "--side MM" in refused(capsys, "views", ct, "-o", out)
    assert "--side is not for a patient" in refused(capsys, "views", patient, "-o", out, "--side", 200)
    assert run("views", ct, "-o", out, "--side", 230.4, "--target", 0, 0, 0, "--range", "lao=0:50",
               "--step", 90) == 0  # fmt: skip
    assert json.loads((out / "views.json").read_text())["best"]["lao_deg"] == 25


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--like XRAY"),
        (["--side", 5], "20 to 1000 mm"),
        (["--like", "no.png"], "no.png"),
    ],
)
def test_preparing_asks_for_the_c_arm(files, tmp_path, capsys, options, said):
    assert said in refused(capsys, "prepare", files[0], "-o", tmp_path / "o", *options)


def test_options_of_a_ct_are_settled_in_a_patient(files, patient, tmp_path, capsys):
    told = refused(capsys, "register", patient, files[1], "-o", tmp_path / "o", "--fixed", "roll=3")
    assert "--fixed is not for a patient" in told


def test_a_spacing_unlike_that_of_the_patient_is_refused(files, patient, tmp_path, capsys):
    reading = ("--contrast", "intensity", "--spacing", 0.9)
    told = refused(capsys, "register", patient, files[1], "-o", tmp_path / "o", *reading)
    assert "the X-ray is 115.2 mm wide" in told
    assert "was prepared for 230.4 mm; correct --spacing" in told


GANTRY = (20.0, 0.0), (-60.0, 5.0)


@pytest.fixture(scope="module")
def second(files):
    motion = gantry_motion(*GANTRY, DETECTOR)
    pose = pose_of(camera_to_world(POSE, DETECTOR, torch.zeros(3)) @ motion, DETECTOR, torch.zeros(3))
    return write_xray(files[2] / "second.png", intensity(pose, seed=5))


@pytest.mark.usefixtures("once")
def test_a_second_x_ray_tells_the_depth(files, patient, second, found, tmp_path):
    turned = [angle for pair in GANTRY for angle in pair]
    record = register_to_ct(patient, [files[1], second], tmp_path / "both", gantry=turned, **READING)
    alone, both = (r["modes"][0]["spread"]["away"] for r in (found[0], record))
    assert both < alone
    assert error(record)[5].abs() < 4
    assert record["trust"]["distance"] < record["trust"]["limit_distance"]
    assert record["trust"]["agree"] == [1, 2]
    assert [x["gantry_deg"] for x in (record["xray"], *record["other_xrays"])] == [[20, 0], [-60, 5]]


@pytest.mark.usefixtures("once")
def test_x_rays_that_do_not_belong_together_are_not_trusted(files, patient, second, found, tmp_path):
    record = register_to_ct(patient, [files[1], second], tmp_path / "both", gantry=[20, 0, 40, 0], **READING)
    assert not record["trust"]["is_trusted"]
    assert "two X-rays do not agree" in record["trust"]["statement"]
    assert record["modes"][0]["pose"] == found[0]["modes"][0]["pose"]  # the first alone


@pytest.mark.slow  # another patient among three is always tested
@pytest.mark.usefixtures("once")
def test_the_x_ray_of_a_patient_who_moved_is_named(files, patient, second, tmp_path, capsys):
    """The first of three; poses are then those of the second."""
    moved = POSE + torch.tensor([0.0, 9, 0, 12, 0, 0])
    paths = [write_xray(tmp_path / "moved.png", intensity(moved, seed=6)), files[1], second]
    code = run("register", patient, *paths, "-o", tmp_path / "three", "--spacing", 1.8, "--contrast",
               "intensity", "--turned", 20, 0, 20, 0, -60, 5, "--gantry-sd", 20)  # fmt: skip
    assert code == 0
    said = capsys.readouterr().out
    assert "why X-ray 1 (moved.png) does not agree" in said
    assert "from X-rays 2 and 3 alone" in said
    assert "WARNING: --gantry-sd had no effect" in said
    record = json.loads((tmp_path / "three" / "registration.json").read_text())
    assert not record["trust"]["is_trusted"]
    assert record["trust"]["agree"] == [2, 3]
    assert record["xray"]["path"].endswith("xray.png")
    assert [x["path"].rsplit("/")[-1] for x in record["other_xrays"]] == ["moved.png", "second.png"]
    assert error(record)[:5].abs().max() < 0.5


@pytest.mark.usefixtures("once", "searched_briefly")
def test_the_x_ray_of_another_patient_among_three_is_named(files, patient, second, tmp_path):
    """A smaller one, whose spur is on the other side."""
    ct = phantom_ct()
    smaller = torch.diag(torch.tensor([0.85, 0.85, 0.85, 1.0])).double() @ ct.affine
    other = AttenuationVolume(ct.values.flip(0), smaller)
    stranger = write_xray(tmp_path / "stranger.png", intensity(seed=7, ct=other))
    turned = [20, 0, -60, 5, 20, 0]
    paths = [files[1], second, stranger]
    record = register_to_ct(patient, paths, tmp_path / "three", gantry=turned, **READING)
    assert not record["trust"]["is_trusted"]
    assert record["trust"]["agree"] == [1, 2]
    assert "why X-ray 3 (stranger.png) does not agree" in record["trust"]["statement"]
    assert error(record)[:5].abs().max() < 0.5


@pytest.mark.parametrize("angles", [(20, 0), (20, 0, 40), (20, 0, "nan", 0)])
def test_every_x_ray_needs_two_angles(files, patient, tmp_path, capsys, angles):
    told = refused(capsys, "register", patient, files[1], files[1], "-o", tmp_path / "o", "--contrast",
                   "intensity", "--spacing", 1.8, "--turned", *angles)  # fmt: skip
    assert "LAO and CRA of 2, 4 numbers" in told


@pytest.mark.usefixtures("once", "searched_briefly")
def test_the_gantry_is_a_prior_or_a_check(files, patient, tmp_path):
    reading = READING | {"gantry": (-150.0, 0.0)}
    checked = register_to_ct(patient, files[1], tmp_path / "checked", **reading)
    assert error(checked)[:3].abs().max() < 0.5
    assert any("did not lie on the back" in note for note in checked["xray"]["notes"])
    believed = register_to_ct(patient, files[1], tmp_path / "believed", gantry_sd=5.0, **reading)
    assert abs(believed["modes"][0]["pose"]["lao"] + 150) < 40


def test_a_prior_needs_the_gantrys_angles(files, patient, tmp_path, capsys):
    told = refused(capsys, "register", patient, files[1], "-o", tmp_path / "o", "--gantry-sd", 10,
                   "--contrast", "intensity", "--spacing", 1.8)  # fmt: skip
    assert "--turned LAO1 CRA1" in told


@pytest.mark.slow  # three more searches
def test_a_source_off_its_place_widens_the_pose_as_it_moves_it(files, patient, tmp_path):
    """Nearer by 25 mm and to the side: taken for where it should be, the pose is wrong beyond its width."""
    xray = write_xray(tmp_path / "moved.png", intensity(source=(9.0, -7.2, -25.0)))
    distance = []
    for sd in (0.0, 15.0):
        record = register_to_ct(patient, xray, tmp_path / str(sd), source_sd=sd, **READING)
        spread = torch.tensor([record["modes"][0]["spread"][name] for name in NAMES])
        distance.append((error(record).abs() / spread)[[0, 1, 3, 4, 5]])
    assert distance[0].min() > 3
    assert distance[1].max() < 2


@pytest.mark.parametrize("sd", [-3, 80, "nan"])
def test_a_source_that_is_nowhere_is_refused(files, patient, tmp_path, capsys, sd):
    told = refused(capsys, "register", patient, files[1], "-o", tmp_path / "o", "--source-sd", sd,
                   "--contrast", "intensity", "--spacing", 1.8)  # fmt: skip
    assert "give 0 to 50 mm" in told


def test_a_mask_leaves_out_what_covers_the_patient(files, patient, tmp_path, capsys):
    """An implant over a sixth of the image, of the brightness of bone."""
    image = intensity(seed=2)
    image[30:58, 20:100] = 0.25
    mask = np.zeros(image.shape, np.uint8)
    mask[28:60, 18:102] = 1
    xray = write_xray(tmp_path / "covered.png", image)
    Image.fromarray(mask * 200).save(tmp_path / "mask.png")
    record = register_to_ct(patient, xray, tmp_path / "masked", leave_out=tmp_path / "mask.png", **READING)
    assert error(record)[:3].abs().max() < 1
    left_out = np.asarray(Image.open(tmp_path / "masked" / "left_out.png")) > 0
    assert left_out[30:58, 20:100].all()
    for drawn, said in (
        (np.full_like(mask, 255), "perhaps it is inverted"),
        (mask[:60], "not of the X-ray's shape"),
    ):
        Image.fromarray(drawn).save(tmp_path / "mask.png")
        told = refused(capsys, "register", patient, xray, "-o", tmp_path / "o", "--contrast", "intensity",
                       "--spacing", 1.8, "--leave-out", tmp_path / "mask.png")  # fmt: skip
        assert said in told


def test_blades_and_a_mask_that_leave_nothing_are_told(files, patient, tmp_path, capsys):
    image = intensity(seed=3)
    image[:50] = 0.004
    mask = np.zeros(image.shape, np.uint8)
    mask[48:] = 255
    xray = write_xray(tmp_path / "blades.png", image)
    Image.fromarray(mask).save(tmp_path / "mask.png")
    told = refused(capsys, "register", patient, xray, "-o", tmp_path / "o", "--contrast", "intensity",
                   "--spacing", 1.8, "--leave-out", tmp_path / "mask.png")  # fmt: skip
    assert "collimator blades and mask leave 0% of the X-ray" in told


@pytest.mark.slow
def test_grey_values_the_wrong_way_round_are_not_trusted(files, patient, tmp_path):
    """Bone dark, but said to be bright: line integrals of another image altogether."""
    reading = READING | {"contrast": "attenuation", "scale": 1e-4, "samples": 100}
    record = register_to_ct(patient, files[1], tmp_path / "o", **reading)
    assert not record["trust"]["is_trusted"]


def test_burned_in_text_is_left_out(files, patient, tmp_path):
    image = intensity(seed=2)
    shown = Image.new("1", image.shape)
    draw = ImageDraw.Draw(shown)
    for place, text in (((4, 4), "L  AP  12:34"), ((60, 108), "DOE J")):
        draw.text(place, text, fill=1, font=ImageFont.load_default(14))
    is_text = np.asarray(shown)
    image[is_text] = image.max()
    record = register_to_ct(patient, write_xray(tmp_path / "text.png", image), tmp_path / "o", **READING)
    assert (np.asarray(Image.open(tmp_path / "o" / "left_out.png"))[is_text] > 0).all()
    away = error(record)
    assert away[:3].abs().max() < 0.5
    assert away[3:5].abs().max() < 0.5
    assert record["trust"]["is_trusted"]


@pytest.mark.slow  # the limb below is the harder case of the same
@pytest.mark.usefixtures("searched_briefly")
def test_a_photograph_is_not_trusted(patient, tmp_path):
    """The grey portrait that matplotlib brings along."""
    with get_sample_data("grace_hopper.jpg") as file:
        Image.open(file).convert("L").crop((0, 0, 512, 512)).save(tmp_path / "photograph.png")
    reading = READING | {"spacing_mm": DETECTOR.spacing_mm / 4, "samples": 100}
    record = register_to_ct(patient, tmp_path / "photograph.png", tmp_path / "o", **reading)
    assert not record["trust"]["is_trusted"]
    assert "Do not use" in record["trust"]["statement"]


@pytest.mark.parametrize("searched", ["searched_briefly", pytest.param("", marks=pytest.mark.slow)])
def test_an_x_ray_of_another_region_is_not_trusted(patient, tmp_path, request, searched):
    """Limbs: two bones in an ellipse of water, none of the CT's vertebrae.

    That the second search starts, the body without its spine shows below.
    """
    if searched:
        request.getfixturevalue(searched)
    y, x = np.mgrid[-115:115:128j, -115:115:128j]
    water = 2 * np.sqrt(np.clip(60**2 - (x + 10) ** 2, 0, None))
    bones = sum(2 * np.sqrt(np.clip(9**2 - (x + 10 - at - 0.1 * y) ** 2, 0, None)) for at in (-22, 18))
    limb = np.exp(-0.0192 * water - 0.03 * bones)
    photons = np.random.default_rng(0).poisson(limb * 40_000) / 40_000
    xray = write_xray(tmp_path / "limb.png", photons)
    record = register_to_ct(patient, xray, tmp_path / "o", samples=100, **READING)
    assert not record["trust"]["is_trusted"]
    assert "Do not use" in record["trust"]["statement"]


def changed_ct(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The phantom as another scanner might have it; its X-ray shows neither table nor rod."""
    ct = phantom_ct()
    values, affine = ct.values.numpy().copy(), ct.affine.numpy().copy()
    if kind == "table and metal":
        values[44:48, 50:54, 10:-10] = 3000
        values = np.pad(values, ((0, 0), (12, 0), (0, 0)), constant_values=-1000)
        values[:, 2:10] = 200  # HU, 20 mm thick, under the back
        affine[:3, 3] -= affine[:3, :3] @ [0, 12, 0]
    elif kind == "cut off at the head":
        values = values[:, :, :-8]  # 20 mm
    elif kind == "oblique and anisotropic":
        turn = np.eye(4)
        turn[:3, :3] = Rotation.from_euler("zx", [20, 12], degrees=True).as_matrix()
        middle = affine @ [*((np.array(values.shape) - 1) / 2), 1]
        size = np.array([96, 96, 44])
        affine = turn @ np.diag([2.5, 2.5, 5, 1])
        affine[:3, 3] = middle[:3] - affine[:3, :3] @ ((size - 1) / 2)
        back = np.linalg.inv(ct.affine.numpy()) @ affine
        values = affine_transform(values, back[:3, :3], back[:3, 3], size, order=1, cval=-1000)
    return values, affine


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("table and metal", marks=pytest.mark.slow),
        "cut off at the head",
        "oblique and anisotropic",
    ],
)
def test_cts_of_every_kind(files, tmp_path, kind):
    values, affine = changed_ct(kind)
    nibabel.save(nibabel.Nifti1Image(values.astype(np.int16), affine), tmp_path / "ct.nii.gz")
    options = READING | {"samples": 100, "target": TARGET, "free": SOME_VIEWS}
    record = register_to_ct(tmp_path / "ct.nii.gz", files[1], tmp_path / "o", **options)
    away = error(record)
    assert away[:3].abs().max() < 1
    assert away[3:5].abs().max() < 1
    assert record["trust"]["is_trusted"]


@pytest.mark.slow  # another region is always tested
def test_a_body_without_its_spine_is_not_trusted(files, patient, tmp_path):
    """A mask over nearly all of the spine leaves an outline, which fits from many sides."""
    image = intensity(seed=2)
    image[30:75, 20:100] = 0.25
    mask = np.zeros((128, 128), np.uint8)
    mask[28:77, 18:102] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    xray = write_xray(tmp_path / "covered.png", image)
    leave_out = tmp_path / "mask.png"
    record = register_to_ct(patient, xray, tmp_path / "o", samples=100, leave_out=leave_out, **READING)
    assert record["trust"]["explained"] > 0.9
    assert record["trust"]["lead"] < 0.2
    assert not record["trust"]["is_trusted"]
    assert "others elsewhere nearly as much" in record["trust"]["statement"]
