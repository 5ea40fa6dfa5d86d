"""The unmodified module, driven through its panel: bundles, images, options, packages."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlparse
from urllib.request import url2pathname

import numpy as np
import pytest
from driving import (
    SPACING,
    Panel,
    add_image,
    app,
    center_of,
    done,
    kind_of,
    panel,
    replay,
    shown,
    view,
)
from INNUncertaintyLib import Channels, Inference, channels_of, register_sample_data

import slicer  # isort: skip -- driving has installed what stands in for it
import slicer.util  # isort: skip

__all__ = ["done", "panel", "replay"]


def test_what_slicer_shows_before_it_is_opened(panel):
    module = panel.module
    assert (module.title, module.categories) == ("INN Uncertainty", ["Quantification"])
    assert "Research only" in module.acknowledgementText
    assert "posterior" in module.helpText
    assert not module.icon.isNull()


def test_real_child_from_the_list_of_bundles_to_the_map(recorded, spectra, tmp_path, monkeypatch):
    """Spaces and umlauts in all paths."""
    app.reset()
    place = tmp_path / "Größe und Gewebe"
    (place / "tmp").mkdir(parents=True)
    shutil.copytree(recorded / "bundle", place / "mein Bündel")
    monkeypatch.setattr(slicer.app, "temporaryPath", str(place / "tmp"))
    image = add_image(spectra, "Föten & Gewebe 1")
    real = Panel()
    try:
        assert real.status == "Looking for bundles..."
        assert not real.ui.applyButton.enabled
        real.settle()
        assert {"oximetry", "oximetry_rgb"} <= {
            real.ui.bundleBox.itemText(n) for n in range(real.ui.bundleBox.count)
        }
        real.prepare(place / "mein Bündel", image)
        assert "16 channels" in real.ui.bundleCard.plainText
        assert "not calibrated" in real.ui.validationLabel.text
        real.apply()
        assert real.status.startswith("84 of 84 voxels usable (others: grid); ")
        run = real.run
        assert (run.image, run.name) == (image, "Föten & Gewebe 1, mein Bündel")
        median = run.find("median", "sao2")
        wanted = slicer.util.loadVolume(recorded / "result" / "median_sao2.nii.gz", {"show": False})
        np.testing.assert_array_equal(
            slicer.util.arrayFromVolume(median), slicer.util.arrayFromVolume(wanted)
        )
        np.testing.assert_allclose(center_of(median, 1, 2, 3), center_of(image, 1, 2, 3), atol=1e-4)
        np.testing.assert_allclose(median.GetSpacing(), SPACING, rtol=1e-5)
        assert kind_of(shown()) == "interval_width"
        assert view().GetBackgroundVolumeID() == run.background.GetID()
        assert (app.messages, app.errors, [*(place / "tmp").iterdir()]) == ([], [], [])
        assert real.ui.progressBar.value == 0
    finally:
        real.module.close()


def test_bundles_of_xrays_are_left_to_their_own_module():
    from INNUncertaintyLib.bundles import bundles_of

    listing = [{"name": "a", "problem": "oximetry"}, {"name": "b", "problem": "pose", "result": "poses"}]
    listing += [{"name": "c", "error": "truncated"}, {"name": "d", "result": "classes"}]
    assert [bundle.name for bundle in bundles_of({"bundles": listing})] == ["a", "c", "d"]


def test_a_bundle_that_fits_the_image_is_proposed_once(panel, recorded, spectra):
    """Of the listed ones the first that fits; what is chosen afterwards stays."""
    own = str((recorded / "bundle").resolve())
    unfit = next(b.path for b in panel.logic.bundles if b.bands > spectra.shape[-1] and not b.series)
    panel.choose(panel.ui.bundleBox, unfit)
    assert "needs an image of" in panel.ui.applyButton.toolTip
    panel.ui.imageSelector.setCurrentNode(add_image(spectra, "Another"))
    assert panel.ui.bundleBox.currentData == panel.state.bundle == own
    assert panel.ui.applyButton.enabled
    panel.choose(panel.ui.bundleBox, unfit)
    panel.ui.samplesBox.value += 1
    assert panel.state.bundle == unfit
    panel.ui.imageSelector.setCurrentNode(add_image(spectra[..., :7], "Seven channels"))  # nothing fits
    assert panel.state.bundle == unfit
    assert "needs an image of" in panel.ui.applyButton.toolTip


def test_options_reach_the_command(panel):
    panel.ui.samplesBox.value, panel.ui.storedSamplesBox.value, panel.ui.falseAlarmBox.value = 32, 5, 0.01
    assert panel.ui.adequacyBox.value == 0
    panel.ui.adequacyBox.value = 39
    panel.apply()
    words = (panel.replay / "calls").read_text().splitlines()[-1].split()
    given = dict(zip(words[7::2], words[8::2], strict=False))
    assert Path(given.pop("--preview")).name == "preview"
    assert given == {
        "--samples": "32",
        "--save-samples": "5",
        "--save-quantiles": "16",
        "--false-alarm": "0.01",
        "--adequacy": "39",
        "--adaptive": "--no-picture",
        "--json": "--progress-lines",
    }


def test_exact_posteriors_are_offered_where_there_is_a_likelihood(panel):
    box, check = panel.ui.bundleBox, panel.ui.reweightCheck
    assert not check.enabled
    own, other = panel.state.bundle, next(b.path for b in panel.logic.bundles if b.name == "photoacoustics")
    panel.choose(box, other)
    assert check.enabled
    check.checked = True
    assert panel.state.reweight
    words = Inference._command(SimpleNamespace(folder=Path("folder")), panel.state, "image.nrrd")
    assert "--reweight" in words
    assert not {"--save-samples", "--adaptive"} & {*words}
    panel.choose(box, own)
    assert not check.enabled
    assert not check.checked
    assert not panel.state.reweight


def test_many_bands_do_not_keep_the_scene_from_being_saved(panel, tmp_path):
    slicer.mrmlScene.RemoveNode(panel.image.GetStorageNode())
    panel.apply()
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    assert slicer.util.arrayFromVolume(panel.state.image).shape == (2, 6, 7, 16)


def test_sequence_of_bands_is_an_image(panel, spectra):
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Bands")
    for band in range(spectra.shape[-1]):
        item = slicer.vtkMRMLScalarVolumeNode()
        item.CopyOrientation(panel.image)
        slicer.util.updateVolumeFromArray(item, np.ascontiguousarray(spectra[..., band]))
        sequence.SetDataNodeAtValue(item, str(band))
    panel.ui.imageSelector.setCurrentNode(sequence)
    panel.apply()
    assert (panel.run.image, panel.run.name) == (sequence, "Bands, bundle")
    assert panel.run.background.GetAttribute("INN.map") == "photo"
    assert kind_of(shown()) == "interval_width"


def test_selector_offers_images_alone(panel):
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "Skin")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Bands")
    assert [node.GetName() for node in panel.ui.imageSelector.nodes()] == ["Tissue", "Bands"]


def test_first_image_is_the_default_and_no_result_is(done):
    done.ui.imageSelector.setCurrentNode(None)
    assert done.status == "Select an image."
    done.module.exit()
    done.module.enter()
    assert done.state.image is done.image
    slicer.mrmlScene.RemoveNode(done.image)
    done.module.exit()
    done.module.enter()
    assert done.state.image is None
    assert kind_of(shown()) == "interval_width"


def test_status_forgets_what_is_no_longer_missing(panel):
    panel.ui.imageSelector.setCurrentNode(None)
    assert (panel.status, panel.ui.applyButton.toolTip) == ("Select an image.", "Select an image.")
    panel.ui.imageSelector.setCurrentNode(panel.image)
    assert (panel.status, panel.ui.applyButton.enabled) == ("", True)


def test_packages_are_installed_after_a_yes(panel, monkeypatch):
    import importlib.metadata

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    assert not panel.ui.installButton.visible
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", missing)
    panel.module.reload()
    app.process_events()
    assert panel.ui.installButton.visible
    assert not panel.ui.applyButton.enabled
    app.answers.append(False)
    panel.ui.installButton.click()
    (question,) = app.messages
    assert question.kind == "question"
    assert "monai_inn" in question.text
    assert app.packages.calls == []

    def install(requirements):
        assert requirements == ["monai_inn[io]>=0.1"]
        monkeypatch.setattr(importlib.metadata, "version", version)

    # Slicer 5.10 has no package manager of its own, later ones have.
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    monkeypatch.setattr(slicer.util, "pip_install", install)
    panel.ui.installButton.click()
    panel.settle()
    assert not panel.ui.installButton.visible
    assert panel.ui.bundleBox.count > 0


def test_logic_works_without_the_panel(panel):
    logic, state = type(panel.logic)(), panel.state
    logic.start(state)
    found = []
    app.wait_until(lambda: found.append(logic.poll()) or found[-1] is not None)
    logic.show(state)
    assert found[-1].image is panel.image
    assert not logic.is_busy()


def test_self_test(panel):
    """It infers the sample image; here the stand-in answers."""
    panel.module.run_tests()
    assert app.messages == []
    called = (panel.replay / "calls").read_text()
    assert called.count("-m monai_inn infer oximetry ") == 1
    assert Path(os.fspath(panel.module.path)).name == "INNUncertainty.py"


def test_reload_reads_the_support_libraries_anew(panel):
    names = ("INNUncertaintyLib", "INNUncertaintyLib.child", "INNDisplayLib", "INNDisplayLib.maps.overlay")
    before = {name: sys.modules[name] for name in names}
    panel.module.reload()
    assert all(sys.modules[name] is not module for name, module in before.items())


@pytest.mark.parametrize(
    ("sample", "channels", "shape"),
    [
        ("INNOrganMosaic", Channels(100), (1, 128, 96, 100)),
        ("INNBreastDCE", Channels(25, frozenset({"time", "artery"})), (1, 64, 64, 25)),
    ],
)
def test_sample_data_are_registered_and_fit_a_bundle(panel, sample, channels, shape):
    register_sample_data()
    found = app.sample_data[sample]
    path = Path(url2pathname(urlparse(found["uris"]).path))
    assert path.is_file()
    assert Path(found["thumbnailFileName"]).is_file()
    volume = slicer.util.loadVolume(str(path))
    assert channels_of(volume) == channels
    assert slicer.util.arrayFromVolume(volume).shape == shape
    assert panel.logic.fitting(volume)
