"""Images that Slicer does not read come in through the package, by a child process."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from driving import Panel, app, complaint_of, replay, use_real_python
from INNUncertaintyLib import channels_of

import slicer  # isort: skip -- driving has installed what stands in for it
import slicer.util  # isort: skip

from monai.data.meta_tensor import MetaTensor

from monai_inn.transforms import read_multispectral, write_nrrd

__all__ = ["replay"]


@pytest.fixture
def panel(replay):
    app.reset()
    opened = Panel()
    opened.settle()
    opened.replay = replay
    yield opened
    opened.module.close()
    assert opened.left_behind() == []


def load(panel, path):
    panel.ui.fileEdit.currentPath = str(path)
    panel.ui.loadButton.click()
    app.wait_until(lambda: panel.widget._loading.child is None)


@pytest.fixture
def cube(tmp_path):
    """An NPZ of integers with one saturated pixel and a geometry of its own."""
    counts = np.random.default_rng(0).integers(100, 60_000, (16, 5, 4)).astype(np.uint16)
    counts[3, 2, 1] = 65_535
    affine = np.array([[0, -0.5, 0, 3], [-0.25, 0, 0, 4], [0, 0, -2, 5], [0, 0, 0, 1.0]])
    np.savez(tmp_path / "lésion 1.npz", image=counts, affine=affine)
    (tmp_path / "lésion 1.json").write_text(json.dumps({"time": [*range(16)]}))
    return tmp_path / "lésion 1.npz"


def test_a_cube_becomes_a_volume_and_is_selected(panel, cube, tmp_path, monkeypatch):
    use_real_python(monkeypatch)
    load(panel, cube)
    assert panel.status == "Loaded lésion 1."
    volume = panel.state.image
    assert panel.ui.imageSelector.currentNode() is volume
    bands = slicer.util.arrayFromVolume(volume)
    expected = np.load(cube)["image"].astype(np.float32)
    expected[:, 2, 1] = np.nan  # saturated
    np.testing.assert_array_equal(bands[0].transpose(2, 1, 0), expected)
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    assert channels_of(volume).settings == {"time"}  # of the file beside the image


def test_an_image_does_not_come_into_a_scene_that_was_closed_meanwhile(panel, cube):
    (panel.replay / "hold").touch()
    panel.ui.fileEdit.currentPath = str(cube)
    panel.ui.loadButton.click()
    folder = panel.widget._loading.folder
    slicer.mrmlScene.Clear(False)
    assert (panel.widget._loading.child, folder.exists()) == (None, False)
    assert panel.ui.loadButton.enabled


def test_an_image_that_nobody_acquired_says_so(panel, tmp_path):
    mark = {"synthetic": "SYNTHETIC, of a test."}
    write_nrrd(tmp_path / "flair.nrrd", MetaTensor(torch.rand(1, 5, 4)))
    panel.widget.onLoaded(SimpleNamespace(result=lambda: {"out": str(tmp_path / "flair.nrrd")} | mark))
    assert panel.status.startswith("Loaded SYNTHETIC flair.")
    assert panel.state.image.GetAttribute("INN.synthetic") == "SYNTHETIC, of a test."


def test_converted_files_give_the_same_image_back(cube, tmp_path):
    from monai_inn.cli import main

    assert main(["convert", str(cube), "-o", str(tmp_path / "cube.nrrd")]) == 0
    before, after = read_multispectral(cube), read_multispectral(tmp_path / "cube.nrrd")
    np.testing.assert_allclose(after.affine, before.affine)
    usable = ~before.meta["saturated"][0].numpy()
    np.testing.assert_array_equal(after.numpy()[:, usable, 0], before.numpy()[:, usable])
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing.hdr", "no such file"), ("broken.npz", "broken.npz"), ("", "Select a file.")],
)
def test_what_cannot_be_read_is_said_once(panel, tmp_path, name, message):
    (tmp_path / "broken.npz").write_bytes(b"PK")
    path = tmp_path / name if name else ""
    if name:
        said = complaint_of("convert", str(path), "-o", str(tmp_path / "out.nrrd"))
        (panel.replay / "complaint").write_text(said, encoding="utf-8")
    load(panel, path)
    (shown,) = app.messages
    assert message in shown.text + shown.details
    assert panel.state.image is None
    assert panel.ui.loadButton.enabled
    app.errors.clear()


def test_an_unwritable_target_is_refused_in_one_line(cube, tmp_path, capsys):
    from monai_inn.cli import main

    assert main(["convert", str(cube), "-o", str(tmp_path / "cube.tif")]) == 2
    assert "change the ending" in capsys.readouterr().err
    assert main(["convert", str(cube), "-o", str(tmp_path / "no" / "cube.nrrd")]) == 2
    assert "cannot be written" in capsys.readouterr().err
