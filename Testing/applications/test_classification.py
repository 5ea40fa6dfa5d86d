"""Classification of images: from files to a bundle, to classes, trust and evidence; and what is refused."""

from __future__ import annotations

import base64
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import monai_inn as mi
from monai_inn import plain
from monai_inn.applications.classification.classifying import (
    RECORD,
    answers,
    classify,
    with_shares,
)
from monai_inn.applications.classification.collections import Collection, made_up, parts_of_groups
from monai_inn.applications.classification.figures import draw, draw_classes, evidence_of
from monai_inn.applications.classification.image_files import read_image
from monai_inn.applications.classification.problem import LabelledImages
from monai_inn.applications.classification.reading import read_collection
from monai_inn.applications.classification.viewer import drawing
from monai_inn.cli import main
from monai_inn.fitted import FittedPosterior
from monai_inn.networks.kernels import products
from monai_inn.training import Recipe
from monai_inn.validation.commands import validate_source

pillow = pytest.importorskip("PIL.Image")

SIZE = (16, 16)
BRIEF = Recipe(posterior_steps=10, density_steps=2, batch_size=128)
SMALL = {"flow": {"num_blocks": 1, "hidden_channels": (8,), "components": 16}, "density": {"members": 2}}


@pytest.fixture(scope="module")
def images() -> Collection:
    return made_up(SIZE)


@pytest.fixture(scope="module")
def fitted(images: Collection) -> FittedPosterior:
    problem = LabelledImages.of_collection(images, changes="none")
    return mi.fit(problem, recipe=BRIEF, coupling="affine", network=SMALL)


@pytest.fixture(scope="module")
def bundle(fitted: FittedPosterior, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "rings"
    fitted.save(folder)
    return folder


def measured(fitted: FittedPosterior) -> tuple[torch.Tensor, torch.Tensor]:
    theta, y = fitted.problem.simulate(200, seed=12345)
    return theta[:, 0].long(), y


def png(path: Path, row: torch.Tensor) -> Path:
    pixels = row.reshape(SIZE).byte().numpy()
    pillow.fromarray(pixels).save(path)
    return path


def test_a_training_through_the_chain_tells_the_classes_and_what_is_of_none(fitted):
    label, y = measured(fitted)
    probability = fitted.class_probability(y)
    assert float((probability.argmax(1) == label).float().mean()) > 0.95
    assert torch.allclose(probability.sum(1), torch.ones(len(y)), atol=1e-5)
    inside = fitted.class_sets(probability, 0.9)[torch.arange(len(y)), label]
    # Thresholds of some 120 images a class, and 200 counted: 4 sd.
    assert float(inside.float().mean()) > 0.9 - 4 * (0.09 * (1 / 200 + 1 / 120)) ** 0.5
    usual = 1 - float(fitted.is_explained(y).float().mean())
    assert usual < 0.05 + 4 * (0.05 * 0.95 * (1 / 200 + 1 / 240)) ** 0.5
    for strange in (255 - y, torch.zeros_like(y), 255 * torch.rand(y.shape, generator=torch.manual_seed(0))):
        assert not fitted.is_explained(strange).any()


def test_groups_stay_together_and_parts_have_their_shares():
    groups = torch.arange(1000).repeat(3)
    part = parts_of_groups(groups, seed=1)
    assert torch.equal(part[:1000], part[2000:])
    assert torch.bincount(part).tolist() == [2100, 300, 300, 300]


def test_a_bundle_answers_alike_and_is_validated_on_images_it_brings(fitted, bundle, tmp_path):
    again = mi.load(bundle)
    _, y = measured(fitted)
    assert torch.equal(again.class_probability(y), fitted.class_probability(y))
    assert torch.equal(again.is_explained(y), fitted.is_explained(y))
    report = validate_source(str(bundle), tmp_path / "report", n=64, samples=15)
    classes = report["classes"]
    assert classes["classes"] == ["disc", "ring"]
    assert classes["accuracy"]["low"] < classes["accuracy"]["value"] <= 1
    assert [entry["level"] for entry in classes["sets"]] == [0.8, 0.9, 0.95]
    page = (tmp_path / "report" / "report.html").read_text()
    assert "AUROC of ring" in page
    assert "classes in a set" in page
    assert "held-out images" in report["summary"]
    assert report["trust"]["shuffled_channels"]["auroc"] > 0.9
    words = plain.report({"out": "report", **report})
    assert "on held-out images" in words
    assert "simulation" not in words
    for line in ("accuracy", "expected calibration error", "disc in its 90 % set", "ring in its 90 % set"):
        assert f"\n  {line}: " in words


def test_a_small_bundle_is_loaded_where_nothing_was_multiplied_before(bundle):
    products._keep_memory.cache_clear()
    assert mi.load(bundle).problem.classes == ("disc", "ring")


def test_a_card_says_how_good_classes_are_and_that_images_were_taken(bundle):
    card = (bundle / "docs" / "README.md").read_text()
    for text in (
        "| accuracy |",
        "| expected calibration error |",
        "| ring in its 90 % set |",
        "held-out images",
    ):
        assert text in card
    assert "simulations" not in card
    assert "AUROC of the p-value" in card
    metrics = json.loads((bundle / "configs" / "metadata.json").read_text())["eval_metrics"]
    assert metrics["accuracy"] > 0.9


def test_files_are_classified_by_the_command_line(fitted, bundle, tmp_path, monkeypatch, capsys):
    from monai_inn.viewer.display.classes.result import read_classes

    label, y = measured(fitted)
    files = [png(tmp_path / f"{i}.png", y[i]) for i in range(12)]
    strange = png(tmp_path / "=inverted.png", 255 - y[0])
    table = tmp_path / "truth.csv"
    rows = [f"{i}.png,{fitted.problem.classes[label[i]]}" for i in range(12)] + ["=inverted.png,disc"]
    table.write_text("file,class\n" + "\n".join(rows) + "\n")
    arguments = ["classify", str(bundle), *map(str, files), strange.name, "-o", str(tmp_path / "out")]
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--truth", str(table), "--pictures"]) in (0, None)
    words = capsys.readouterr().out
    assert "black and white were exchanged" in words
    record = json.loads((tmp_path / "out" / RECORD).read_text())
    expected = fitted.class_probability(y[:12])
    for entry, row in zip(record["images"][:12], expected, strict=True):
        assert list(entry["probability"].values()) == pytest.approx(row.tolist(), abs=1e-5)
    assert record["images"][12]["is_of_no_class"]
    assert record["measured"]["cases"] == 13
    for name in ("evidence_0001.png", "middles.png"):
        assert (tmp_path / "out" / name).stat().st_size > 1000
        assert {"file": name} in record["files"]
    assert f"pictures: {tmp_path}/out/*.png (14 files)" in words
    assert f"monai-inn view {tmp_path}/out" in words
    shown = read_classes(tmp_path / "out")
    assert np.array_equal(shown.images[12].reshape(-1), (255 - y[0]).byte().numpy())
    with torch.no_grad():
        features = fitted.problem.features(255 - y[:1])
        terms = fitted.network.flow.density.log_likelihood(features)[0]
    ratio = float(terms[1] - terms[0])
    assert float(shown.evidence_for(12, "ring", "disc").sum()) == pytest.approx(ratio, abs=0.02, rel=1e-3)
    turned = shown.evidence_for(0, "disc", "ring")
    assert np.array_equal(turned, -shown.evidence_for(0, "ring", "disc"))
    lines = (tmp_path / "out" / "classes.csv").read_text().splitlines()
    assert len(lines) == 14
    assert lines[0] == "file,class,p(disc),p(ring),set,p_value,of_no_class"
    assert lines[-1].startswith("'=inverted.png,"), "a spreadsheet would take it for a formula"


def test_shares_change_probabilities_by_bayes_and_are_found_without_labels(bundle):
    fitted = mi.load(bundle)
    label, y = measured(fitted)
    density = fitted.network.flow.density
    features = fitted.problem.features(y)
    with torch.no_grad():
        before, was = density.logits(features), density.log_shares.clone()
        with_shares(fitted, y, {"disc": 0.9, "ring": 0.1})
        moved = density.logits(features) - before
    assert density.log_shares.exp().tolist() == pytest.approx([0.9, 0.1])
    expected = torch.tensor([0.9, 0.1]).log() - was
    assert torch.allclose(moved, expected.expand_as(moved), atol=1e-3)
    some = torch.cat([y[label == 0], y[label == 1][:10]])
    share = float((label == 0).sum()) / len(some)
    for rows in (some, torch.cat([some, 255 - some])):  # inverted images are of no class
        with_shares(fitted, y, {"disc": 0.5, "ring": 0.5})
        with_shares(fitted, rows, "estimated")
        assert float(density.log_shares[0].exp()) == pytest.approx(share, abs=0.08)
    with pytest.raises(ValueError, match=r"add up to 10, expected 1; give disc=0\.9,ring=0\.1 if"):
        with_shares(fitted, y, {"disc": 9.0, "ring": 1.0})
    with pytest.raises(ValueError, match="all 5 images are of no class, so their shares"):
        with_shares(fitted, 255 - some[:5], "estimated")


def test_evidence_is_where_the_classes_differ_and_adds_up(fitted, tmp_path):
    label, y = measured(fitted)
    density = fitted.network.flow.density
    rows = y[label == 1][:8]
    maps = []
    for row in rows:
        found, first, second = evidence_of(fitted, row)
        terms = density.log_likelihood(fitted.problem.features(row[None]))[0]
        assert float(found.sum()) == pytest.approx(float((terms[first] - terms[second]).detach()), abs=1e-2)
        maps.append(found if first == 1 else -found)
    size = torch.stack(maps).abs().mean(0)
    axis = (torch.arange(16) + 0.5) / 16 - 0.5
    centre = (axis[:, None].square() + axis.square()).sqrt() < 0.3
    # A ring is dark where a disc is bright: in the middle, 28 % of the image.
    assert float(size[centre].sum() / size.sum()) > 0.6
    assert float(centre.float().mean()) < 0.3
    draw_classes(fitted, tmp_path / "classes.png")
    assert (tmp_path / "classes.png").stat().st_size > 1000


def test_volumes_are_classified_too(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    small = (8, 8, 8)
    problem = LabelledImages.of_collection(made_up(small, n=800), changes="shift")
    fitted = mi.fit(problem, recipe=BRIEF, coupling="affine", network=SMALL)
    label, y = problem.simulate(40, seed=9)
    assert float((fitted.class_probability(y).argmax(1) == label[:, 0].long()).float().mean()) > 0.85
    volume = y[0].reshape(small).numpy().repeat(2, 0).repeat(2, 1).repeat(2, 2)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "v.nii.gz")
    assert torch.equal(read_image(tmp_path / "v.nii.gz", small).flatten(), y[0])
    found = answers(fitted, y[:1])[0]
    assert found["class"] in problem.classes
    draw(fitted, y[0], found, tmp_path / "evidence.png")
    draw_classes(fitted, tmp_path / "middles.png")
    assert (tmp_path / "evidence.png").stat().st_size > 1000
    assert (tmp_path / "middles.png").stat().st_size > 1000


def test_collections_of_files(tmp_path):
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (60, 20, 20), dtype=np.uint8)
    labels = np.arange(60) % 2
    np.savez(
        tmp_path / "a.npz", images=pixels, labels=labels, groups=np.arange(60) // 2, classes=["no", "yes"]
    )
    found = read_collection(tmp_path / "a.npz")
    assert found.classes == ("no", "yes")
    assert torch.equal(found.part[0::2], found.part[1::2])
    np.savez(tmp_path / "m.npz", train_images=pixels, train_labels=labels[:, None], val_images=pixels[:8],
             val_labels=labels[:8, None])  # fmt: skip
    split = read_collection(tmp_path / "m.npz")
    assert int((split.part == 3).sum()) == 8
    for name in ("cat", "dog"):
        (tmp_path / "tree" / name).mkdir(parents=True)
        for i in range(3):
            pillow.fromarray(pixels[i]).save(tmp_path / "tree" / name / f"{i}.png")
    tree = read_collection(tmp_path / "tree", size=10)
    assert tree.classes == ("cat", "dog")
    assert tree.images.shape == (6, 10, 10, 1)


COLLECTIONS = {
    "labels that disagree in number": ({"labels": np.zeros(9, int)}, "60 images and 9 labels"),
    "an unseen label": ({"labels": np.arange(60) % 3}, r"labels \[2\] are none of the 2 classes"),
    "groups that disagree": ({"groups": np.zeros(5, int)}, "60 images and 5 groups"),
    "16 bits": ({"images": np.full((60, 8, 8), 40_000, np.int32)}, "divided by 257"),
    "shares": ({"images": np.full((60, 8, 8), 0.5)}, "not shares"),
    "unequal sizes": ({"images": [np.zeros((3, 3)), np.zeros((4, 4))]}, "unequal size"),
    "what was not measured": ({"images": np.full((60, 8, 8), np.nan)}, "3840 values .* are not finite"),
    "labels between classes": ({"labels": np.arange(60) % 2 + 0.5}, "labels hold 0.5"),
    "labels that are missing": ({"labels": np.where(np.arange(60) == 7, np.nan, 1.0)}, "labels hold nan"),
    "rows": ({"images": np.zeros((60, 64))}, "give \\(n, rows, columns\\)"),
}


@pytest.mark.parametrize("case", COLLECTIONS)
def test_collections_that_are_refused(case):
    changed, message = COLLECTIONS[case]
    usual = {"images": np.full((60, 8, 8), 9), "labels": np.arange(60) % 2, "classes": ("a", "b")}
    with pytest.raises(ValueError, match=message):
        Collection.of(**{**usual, **changed})


def test_problems_that_are_refused(images):
    with pytest.raises(ValueError, match="a classifier needs at least two"):
        LabelledImages(("one",))
    with pytest.raises(ValueError, match="beta = -1"):
        LabelledImages.of_collection(images, beta=-1)
    with pytest.raises(ValueError, match="changes = 'flip'"):
        LabelledImages.of_collection(images, changes="flip")
    one = images._replace(labels=torch.zeros_like(images.labels))
    with pytest.raises(ValueError, match="the part for training holds 1680 disc, 0 ring"):
        LabelledImages.of_collection(one)
    with pytest.raises(ValueError, match="sides of equal length"):
        LabelledImages(("a", "b"), (8, 12), changes="turn")


def test_images_of_files_that_are_refused(tmp_path):
    ramp = np.arange(32 * 32).reshape(32, 32)
    pillow.fromarray((ramp * 4).astype(np.uint16)).save(tmp_path / "dim.png")
    with pytest.raises(
        ValueError, match="the brightest value is 4092 of 65535; say what is white: --levels 0 4095"
    ):
        read_image(tmp_path / "dim.png", SIZE)
    found = read_image(tmp_path / "dim.png", SIZE, levels=(0, 4095))
    assert 240 < float(found.max()) <= 255
    pillow.fromarray(ramp.astype(np.uint8)).save(tmp_path / "grey.png")
    with pytest.raises(ValueError, match="has 32 × 32 pixels, and the network sees 64 × 64"):
        read_image(tmp_path / "grey.png", (64, 64))
    with pytest.raises(ValueError, match="this network sees colours"):
        read_image(tmp_path / "grey.png", SIZE, 3)
    with pytest.raises(ValueError, match="black must be below white"):
        read_image(tmp_path / "grey.png", SIZE, levels=(5, 5))
    pillow.fromarray(np.zeros((32, 32, 3), np.uint8) + np.uint8([9, 99, 200])).save(tmp_path / "colour.png")
    with pytest.raises(ValueError, match="a colour image"):
        read_image(tmp_path / "colour.png", SIZE)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n rest")
    with pytest.raises(ValueError, match="damaged"):
        read_image(tmp_path / "broken.png", SIZE)
    wide = np.zeros((20, 40), np.uint8)
    wide[:, 10:30] = 200
    pillow.fromarray(wide).save(tmp_path / "wide.png")
    assert (read_image(tmp_path / "wide.png", SIZE) == 200).all()  # cut around the middle


def test_command_lines_that_are_refused(bundle, fitted, tmp_path, capsys):
    _, y = measured(fitted)
    file = str(png(tmp_path / "a.png", y[0]))
    truth = tmp_path / "truth.csv"
    truth.write_text("file,class\na.png,square\n")
    out = ["-o", str(tmp_path / "out")]
    for options, message in (
        (["classify", str(bundle), file, *out, "--shares", "disc=1"], "give one of each"),
        (["classify", str(bundle), file, *out, "--truth", str(truth)], "this network does not know square"),
        (
            ["classify", str(bundle), str(tmp_path / "none.png"), *out],
            "none.png: no such file",
        ),
        (["classify", str(bundle), file, *out, "--coverage", "1.5"], "coverage = 1.5"),
        (["classify", "oximetry", file, *out], "expected one that classifies images"),
        (["fit", "labelled_images", "-o", str(tmp_path / "b")], "give --images"),
    ):
        assert main(options) == 2
        said = capsys.readouterr().err
        assert message in said
        assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_classify_refuses_nothing_to_do(bundle, tmp_path):
    with pytest.raises(ValueError, match="no image was given"):
        classify(bundle, [], tmp_path / "out")


def test_evidence_is_drawn_red_for_the_first_class_and_blue_for_the_second():
    evidence = np.array([[2.0, -2.0], [0.0, 0.0]])
    picture = drawing.evidence_picture(evidence, 2.0, np.zeros((2, 2, 1), np.uint8), 1.0)
    pixels = np.asarray(pillow.open(io.BytesIO(base64.b64decode(picture.partition(",")[2])))).astype(int)
    assert pixels[0, 0, 0] > pixels[0, 0, 2] + 50
    assert pixels[0, 1, 2] > pixels[0, 1, 0] + 50
    assert np.ptp(pixels[1, 0]) < 10
    marks = drawing.evidence_legend(2.0, "ring", "disc")
    assert [mark["text"] for mark in marks] == ["−2 nat: for disc", "0", "+2 nat: for ring"]


def test_what_is_said_of_an_image():
    from monai_inn.viewer.display.classes import words

    entry = {"is_of_no_class": True, "p_value": 0.002, "set": []}
    alarm = words.class_alarm(entry, 0.05)
    assert alarm.startswith("Of no class it knows: of 1,000 usual images 2 or fewer")
    assert not words.class_alarm(entry | {"is_of_no_class": False}, 0.05)
    assert words.class_sets(entry, 0.9).startswith("No class fits")
    assert "other classes are excluded" in words.class_sets(entry | {"set": ["ring"]}, 0.9)
    assert "disc is 20 times as probable as ring" in words.class_odds(-math.log(20), "ring", "disc")
    assert "more than 10,000 times" in words.class_odds(500.0, "ring", "disc")
