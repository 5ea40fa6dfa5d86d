"""Tables of true classes: by path, not by name; and groups, in which answers are measured."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_inn.applications.classification.problem import LabelledImages
from monai_inn.applications.classification.reading import read_collection
from monai_inn.applications.classification.truth import Truth, measured, read_truth

pillow = pytest.importorskip("PIL.Image")

CLASSES = ("normal", "pneumonia")
IMAGES = ("a/normal/1.png", "a/pneumonia/1.png")


def table(folder: Path, *rows: str, columns: str = "file,class") -> Path:
    path = folder / "truth.csv"
    path.write_text("\n".join([columns, *rows]) + "\n")
    return path


@pytest.mark.parametrize("start", ["", "a/", "./a/", "{folder}/a/", "../{name}/a/"])
def test_images_of_one_name_in_two_folders_have_a_row_each(tmp_path, start):
    start = start.format(folder=tmp_path, name=tmp_path.name)
    path = table(
        tmp_path, f"{start}pneumonia/1.png,pneumonia", f"{start}normal/1.png,normal", "b/1.png,normal"
    )
    truth = read_truth(path, [str(tmp_path / image) for image in IMAGES], CLASSES)
    assert truth.label.tolist() == [0, 1]
    assert truth.groups == ()


REFUSED = {
    "one row for two images": (
        ["1.png,normal"],
        r"truth\.csv: 1\.png is of .*normal/1\.png and of .*folders",
    ),
    "two rows for one": (
        ["normal/1.png,normal", "a/normal/1.png,normal", "pneumonia/1.png,normal"],
        r"has 2 rows of .*/a/normal/1\.png \(normal/1\.png, a/normal/1\.png\); write one for each image",
    ),
    "the same row twice": (["normal/1.png,normal"] * 2, "has 2 rows of"),
    "no row": (["normal/1.png,normal", "mal/1.png,normal"], r"has no rows of .*pneumonia/1\.png"),
    "a class that is unknown": (["normal/1.png,normal", "pneumonia/1.png,flu"], "does not know flu"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_tables_that_are_refused(tmp_path, case):
    rows, message = REFUSED[case]
    with pytest.raises(ValueError, match=message) as error:
        read_truth(table(tmp_path, *rows), [str(tmp_path / image) for image in IMAGES], CLASSES)
    assert "\n" not in str(error.value)


def test_a_group_that_is_missing_is_refused_and_no_group_is_dropped_for_it(tmp_path):
    rows = ["normal/1.png,normal,", "pneumonia/1.png,pneumonia,east"]
    path = table(tmp_path, *rows, columns="file,class,group")
    with pytest.raises(
        ValueError, match="1 of 2 images have no group; give each one, or leave the column out"
    ):
        read_truth(path, [str(tmp_path / image) for image in IMAGES], CLASSES)
    for image in IMAGES:
        (tmp_path / image).parent.mkdir(parents=True)
        pillow.fromarray(np.full((20, 20), 99, np.uint8)).save(tmp_path / image)
    with pytest.raises(ValueError, match="1 of 2 images have no group"):
        read_collection(tmp_path / "a", path, 10)


def test_folders_of_volumes_need_a_size_of_three_axes(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(40):
            volume = rng.integers(0, 256, (12, 10, 8)).astype(np.int16)
            nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / name / f"{number}.nii")

    def problem(*words: str) -> LabelledImages:
        parser = argparse.ArgumentParser()
        LabelledImages.add_options(parser)
        return LabelledImages.from_options(parser.parse_args(["--images", str(tmp_path), *words]))

    assert problem("--size", "6", "5", "4").size == (6, 5, 4)
    with pytest.raises(ValueError, match=r"holds 8 slices or frames.* fit a network with --size X Y Z"):
        problem("--size", "6")
    with pytest.raises(ValueError, match="size 6 6 6 6: give one number"):
        problem("--size", "6", "6", "6", "6")


def test_answers_are_measured_in_each_group():
    answers = [
        {"probability": {"normal": p, "pneumonia": 1 - p}, "set": names, "is_of_no_class": strange}
        for p, names, strange in (
            (0.9, ["normal"], False),
            (0.8, ["normal"], False),
            (0.4, ["normal", "pneumonia"], True),
            (0.3, ["pneumonia"], False),
        )
    ]
    truth = Truth(torch.tensor([0, 1, 0, 1]), ("west", "west", "east", "east"))
    found = measured(answers, truth, CLASSES)
    assert found["accuracy"]["value"] == 0.5
    shares = {
        name: [row["cases"], *(row[key]["value"] for key in ("accuracy", "in_set", "of_no_class"))]
        for name, row in found["groups"].items()
    }
    assert shares == {"east": [2, 0.5, 1.0, 0.5], "west": [2, 0.5, 0.5, 0.0]}
    assert measured(answers, truth._replace(groups=()), CLASSES)["groups"] == {}
