"""The module with the posterior of an unknown image: opened from its file, shown, stepped through, saved."""

from __future__ import annotations

import numpy as np
import pytest
from driving import kind_of, panel_without_bundles, shown, view
from made_results import IMAGE, OFFSETS, SYNTHETIC, write_image_result

import slicer  # isort: skip -- driving has installed what stands in for it
import slicer.util  # isort: skip

__all__ = ["panel_without_bundles"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_image_result(tmp_path_factory.mktemp("images") / "translated")


@pytest.fixture
def panel(folder, panel_without_bundles):
    """The open module with a result that was written before."""
    panel_without_bundles.ui.fileEdit.currentPath = str(folder / "result.json")
    panel_without_bundles.widget.onLoad()
    return panel_without_bundles


def background():
    return slicer.mrmlScene.GetNodeByID(view().GetBackgroundVolumeID())


def test_a_result_is_opened_from_its_file(panel):
    assert panel.run.name == "translated"
    assert panel.run.record_node is not None
    assert panel.status.startswith(f"{SYNTHETIC} ")
    assert "usable" in panel.status
    assert kind_of(background()) == "mean"
    assert kind_of(shown()) == "interval_width"
    assert background().GetName() == "translated: SYNTHETIC Flair image, mean"
    assert background().GetAttribute("INN.synthetic") == SYNTHETIC
    legends = slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode")
    assert [each.GetTitleText().split()[0] for each in legends if each.GetVisibility()] == ["SYNTHETIC"]


def test_maps_lie_over_the_chosen_image(panel):
    box = panel.ui.pictureBox
    assert [box.itemText(n) for n in range(box.count)] == ["mean", "median", "sample", "true image", "t1"]
    for name, kind in (("median", "median"), ("true image", "reference"), ("mean", "mean")):
        panel.choose(box, name)
        assert kind_of(background()) == kind
        assert kind_of(shown()) == "interval_width"


def test_samples_are_stepped_through(panel):
    slider = panel.ui.sampleSlider
    assert not slider.enabled
    panel.choose(panel.ui.pictureBox, "sample")
    assert slider.enabled
    slider.value = 4
    assert panel.ui.sampleLabel.text == f"sample 4 of {len(OFFSETS)}"
    assert background().GetName().endswith("SYNTHETIC Flair image, sample 4 of 5")
    # The sequence toolbar plays the same volume, which lies below the map.
    browser = panel.run.find("browser", class_name="vtkMRMLSequenceBrowserNode")
    before = slicer.util.arrayFromVolume(background()).copy()
    browser.SetSelectedItemNumber(0)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    assert not np.allclose(slicer.util.arrayFromVolume(background()), before, equal_nan=True)


def test_the_threshold_is_in_the_unit_of_the_image(panel):
    panel.choose(panel.ui.kindBox, "probability_above")
    slider = panel.ui.thresholdSlider
    assert (slider.minimum, slider.maximum) == (IMAGE["low"], IMAGE["high"])
    slider.value = 100.0
    assert panel.ui.thresholdLabel.text == "Probability that Flair image > 100 grey level"
    assert kind_of(shown()) == "probability_above"
    assert shown().GetName() == "translated: SYNTHETIC Flair image, probability above"
    found = slicer.util.arrayFromVolume(shown())
    fifths = 5 * found[np.isfinite(found)]
    np.testing.assert_allclose(fifths, fifths.round(), atol=1e-5)
    assert 0 < fifths.mean() < 5
    panel.choose(panel.ui.kindBox, "probability_below")
    assert panel.ui.hideBelowLabel.text.startswith("Not in this result")


def test_a_damaged_result_is_refused(panel, tmp_path):
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "result.json").write_text("{}")
    panel.ui.fileEdit.currentPath = str(tmp_path / "damaged" / "result.json")
    with pytest.raises(ValueError, match="lacks"):
        panel.widget.onLoad()
    assert panel.run.name == "translated"
