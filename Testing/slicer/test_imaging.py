"""From volumes of the scene, or a file, to the posterior of a whole image by Apply."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from driving import add_image, app, kind_of, opened_panel, replace_python, shown, use_real_python
from made_results import SHAPE, SYNTHETIC, write_image_result

import slicer  # isort: skip -- driving has installed what stands in for it
import slicer.util  # isort: skip
from INNDisplayLib import matrix_of

from monai_inn import cli

# What is asked for is kept, with the files that were written; a made result is the answer.
_PYTHON = """#!/bin/sh
here='{folder}'
echo "$@" >> "$here/calls"
if [ "$3" = bundles ]; then cat "$here/bundles.json"; exit 0; fi
out=
last=
for word in "$@"; do
  case "$word" in *=*) cp "${{word#*=}}" "$here/";; esac
  if [ "$last" = -o ]; then out=$word; fi
  last=$word
done
if [ -e "$here/complaint" ]; then echo "monai-inn: $(dirname "$out")/two.nii: no." >&2; exit 2; fi
cp -r "$here/answer" "$out"
echo '{{"out": "out"}}'
"""


def bundle(name: str, result: str = "images", takes: dict | None = None) -> dict:
    return {
        "path": f"/bundles/{name}", "name": name, "bands": 2, "camera": None, "problem": "made",
        "result": result, "description": "", "intended_use": "", "targets": [], "takes": takes,
        "files": "things <of> one kind", "calibration": {"errors": {}, "recalibrated": False},
    }  # fmt: skip


@pytest.fixture
def panel(tmp_path, monkeypatch):
    place = tmp_path / "python"
    replace_python(place, _PYTHON, monkeypatch)
    record = write_image_result(place / "answer") / "result.json"
    text = record.read_text().replace("/bundles/made", "/bundles/pair")
    record.write_text(text.replace("{", '{"warnings": ["Its pixels are large."], ', 1))
    listing = [
        bundle("pair", takes={"verb": "pair-up", "volumes": ["one", "two"]}),
        bundle("three", takes={"verb": "triple", "volumes": ["one", "two", "three"]}),
        bundle("file", takes={"verb": "unfold", "volumes": [], "noise_sd": "Of a scan."}),
        bundle("maps", "maps") | {"bands": 1},
        bundle("anything else", "posterior"),
    ]
    (place / "bundles.json").write_text(json.dumps({"bundles": listing}))
    with opened_panel() as opened:
        opened.place = place
        yield opened


def volume(name: str, shape: tuple[int, ...] = SHAPE) -> slicer.vtkMRMLVolumeNode:
    return add_image(np.arange(np.prod(shape), dtype=np.float32).reshape(shape), name)


def asked(panel) -> list[str]:
    """Words of the last command."""
    return (panel.place / "calls").read_text().splitlines()[-1].split()


def selectors(panel) -> dict[str, object]:
    """The selectors that are shown, by their captions."""
    ui = panel.ui
    rows = [(ui.imageSelectorCaption, ui.imageSelector), (ui.observedEditCaption, ui.observedEdit)]
    return {caption.text: selector for caption, selector in rows + panel.widget._further if selector.visible}


def test_bundles_of_images_ask_for_what_they_take(panel):
    box = panel.ui.bundleBox
    assert [box.itemText(n) for n in range(box.count)] == ["pair", "three", "file", "maps"]
    assert [*selectors(panel)] == ["Image:"]
    for name, captions in (
        ("three", ["one:", "two:", "three:"]),
        ("pair", ["one:", "two:"]),
        ("file", ["File:"]),
        ("maps", ["Image:"]),
    ):
        panel.choose(box, f"/bundles/{name}")
        assert [*selectors(panel)] == captions
        assert panel.ui.adequacyBox.enabled is panel.ui.falseAlarmBox.enabled is (name == "maps")
    panel.choose(box, "/bundles/pair")
    assert "It takes things &lt;of&gt; one kind." in panel.ui.bundleCard.html
    assert panel.ui.applyButton.toolTip == "Select the volume one."


def test_apply_runs_the_verb_of_the_bundle_and_shows_its_images(panel, tmp_path):
    one, two = volume("T1 of a child"), volume("T2")
    panel.choose(panel.ui.bundleBox, "/bundles/pair")
    panel.ui.imageSelector.setCurrentNode(one)
    assert panel.state.bundle == "/bundles/pair"  # maps of one channel are not proposed in its place
    assert panel.status == "Select the volume two."
    selectors(panel)["two:"].setCurrentNode(two)
    assert panel.ui.applyButton.toolTip == "Infer the posterior of the image"
    panel.ui.samplesBox.value, panel.ui.storedSamplesBox.value = 8, 12
    panel.apply()
    words = asked(panel)
    assert words[2:4] == ["pair-up", "/bundles/pair"]
    assert [word.partition("=")[0] for word in words[4:6]] == ["one", "two"]
    assert words[-6:-4] + words[-4:] == ["--samples", "8", "--keep", "8", "--json", "--progress-lines"]
    for name, node in (("one_T1_of_a_child", one), ("two_T2", two)):
        written = nibabel.load(panel.place / f"{name}.nii")
        np.testing.assert_array_equal(written.get_fdata().transpose(), slicer.util.arrayFromVolume(node))
        np.testing.assert_allclose(written.affine, matrix_of(node), atol=1e-5)
    run = panel.run
    assert (run.name, run.image) == ("T1 of a child, pair", one)
    assert panel.status.startswith(f"{SYNTHETIC} ")
    assert panel.status.endswith("(dots). Its pixels are large.")
    assert kind_of(shown()) == "interval_width"
    panel.choose(panel.ui.pictureBox, "sample")
    panel.ui.sampleSlider.value = 4
    assert panel.ui.sampleLabel.text == "sample 4 of 5"
    panel.apply()
    assert panel.run.key == run.key  # replaced in place
    # The choice of volumes is saved with the scene.
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    app.process_events()
    assert selectors(panel)["two:"].currentNode().GetName() == "T2"


def test_a_file_takes_the_place_of_the_image(panel, tmp_path):
    panel.ui.imageSelector.setCurrentNode(volume("bystander"))
    panel.choose(panel.ui.bundleBox, "/bundles/file")
    assert panel.status == "Select a file: things <of> one kind."
    for path in (tmp_path / "missing.h5", tmp_path):
        panel.ui.observedEdit.currentPath = str(path)
        assert not panel.ui.applyButton.enabled
    (tmp_path / "raw.h5").touch()
    panel.ui.observedEdit.currentPath = str(tmp_path / "raw.h5")
    panel.apply()
    assert asked(panel)[2:5] == ["unfold", "/bundles/file", str(tmp_path / "raw.h5")]
    assert "--noise-sd" not in asked(panel)
    assert (panel.run.name, panel.run.image) == ("raw.h5, file", None)


def test_the_level_of_the_noise_is_asked_for_where_it_is_taken(panel, tmp_path):
    box = panel.ui.noiseSdBox
    panel.choose(panel.ui.bundleBox, "/bundles/pair")
    assert not box.visible
    panel.choose(panel.ui.bundleBox, "/bundles/file")
    assert (box.visible, box.text, box.toolTip) == (True, "not given", "Of a scan.")
    (tmp_path / "scan.nii").touch()
    panel.ui.observedEdit.currentPath = str(tmp_path / "scan.nii")
    box.value = 15.25
    panel.apply()
    assert asked(panel)[-4:-2] == ["--noise-sd", "15.25"]


def test_volumes_that_cannot_be_used_are_refused_in_one_line(panel):
    panel.choose(panel.ui.bundleBox, "/bundles/pair")
    colors = add_image(np.zeros((*SHAPE, 3), np.float32), "Photo")
    panel.ui.imageSelector.setCurrentNode(colors)
    text = "Photo cannot be one, which is a volume of one channel; select another one."
    assert (panel.status, panel.ui.applyButton.enabled) == (text, False)
    panel.ui.imageSelector.setCurrentNode(volume("T1"))
    made = volume("FLAIR")
    made.SetAttribute("INN.synthetic", SYNTHETIC)
    selectors(panel)["two:"].setCurrentNode(made)
    text = "FLAIR is synthetic, nobody acquired it; select an acquired volume two."
    assert (panel.status, panel.ui.applyButton.enabled) == (text, False)
    with pytest.raises(ValueError, match="is synthetic"):
        panel.logic.start(panel.state)
    slicer.mrmlScene.RemoveNode(made)
    assert panel.ui.applyButton.toolTip == "Select the volume two."


def test_a_complaint_of_the_verb_names_files_without_their_temporary_folder(panel):
    (panel.place / "complaint").touch()
    panel.choose(panel.ui.bundleBox, "/bundles/pair")
    panel.ui.imageSelector.setCurrentNode(volume("T1"))
    selectors(panel)["two:"].setCurrentNode(volume("T2"))
    panel.apply()
    assert (panel.status, [message.text for message in app.messages]) == ("two.nii: no.", ["two.nii: no."])


@pytest.mark.parametrize("name", ["contrast_translation", "accelerated_mr"])
def test_shipped_bundles_name_a_verb_that_takes_what_they_say(name, tmp_path, capsys):
    assert cli.main(["bundles", "--json"]) == 0
    (entry,) = [e for e in json.loads(capsys.readouterr().out)["bundles"] if e["name"] == name]
    absent = str(tmp_path / "absent.nii")
    words = [f"{volume}={absent}" for volume in entry["takes"]["volumes"]] or [absent]
    words += ["--noise-sd", "15.0"] if "noise_sd" in entry["takes"] else []
    command = [entry["takes"]["verb"], name, *words, "-o", str(tmp_path / "out"), "--samples", "8"]
    assert cli.main([*command, "--keep", "8", "--json"]) == 2
    assert absent in capsys.readouterr().err  # all words were understood


@pytest.mark.slow  # of other verbs it is always tested
def test_the_real_verb_gives_the_numbers_of_the_command_line(tmp_path, monkeypatch, capsys):
    """A brief fit and its patients, in a child process: another grid is refused, then maps come."""
    from monai_inn import fit
    from monai_inn.applications.contrast.phantom import made_up
    from monai_inn.applications.contrast.problem import ContrastTranslation
    from monai_inn.training import Recipe

    patients = made_up(3, (32, 48))
    problem = ContrastTranslation(("t1", "t2"), "flair", (32, 48), scans=patients, held_out="c")
    recipe = Recipe(64, 2, 2, measured=40, held_out=8, guard=40, batch_size=64)
    small = {"flow": {"levels": 2, "num_blocks": 1, "hidden_channels": 4, "features": (4,) * 5}}
    fit(problem, recipe=recipe, members=2, coupling="affine", network=small).save(tmp_path / "translation")
    use_real_python(monkeypatch)
    with opened_panel() as panel:
        panel.prepare(tmp_path / "translation")
        nodes = []
        for name, values in zip(("t1", "t2"), patients[2].values.numpy(), strict=False):
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
            slicer.util.updateVolumeFromArray(node, values.transpose().copy())
            node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(patients[2].affine))
            nodes.append(node)
        panel.ui.imageSelector.setCurrentNode(nodes[0])
        shifted = volume("elsewhere", slicer.util.arrayFromVolume(nodes[1]).shape)
        shifted.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(patients[2].affine + np.eye(4)[3] * 9))
        selectors(panel)["t2:"].setCurrentNode(shifted)
        panel.apply()
        assert panel.status.startswith("t2_elsewhere.nii: the t2 image lies on another grid than t1_t1.nii;")
        app.messages.clear()
        selectors(panel)["t2:"].setCurrentNode(nodes[1])
        panel.apply()
        found = {kind: panel.run.array(kind, "flair").copy() for kind in ("mean", "median", "interval_width")}
    files = []
    for name, values in zip(("t1", "t2"), patients[2].values.numpy(), strict=False):
        nibabel.save(nibabel.Nifti1Image(values, patients[2].affine), tmp_path / f"{name}.nii")
        files.append(f"{name}={tmp_path / name}.nii")
    command = ["translate", str(tmp_path / "translation"), *files, "-o", str(tmp_path / "out")]
    assert cli.main([*command, "--samples", "8", "--keep", "3"]) == 0
    for kind, values in found.items():
        expected = nibabel.load(tmp_path / "out" / f"{kind}_flair.nii.gz").get_fdata(dtype=np.float32)
        np.testing.assert_allclose(values.transpose(), expected, rtol=1e-4, atol=1e-3)
