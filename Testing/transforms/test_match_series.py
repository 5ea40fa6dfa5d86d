"""Images over time become the channels of a network of series, or are refused."""

import json

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from monai_inn.problems import Observation
from monai_inn.transforms import MatchSeries, MatchSeriesd, read_multispectral, write_map

SERIES = Observation.series(4, "tissue", "artery", context=("time", "flip"))


def image(size=(3, 2, 5), **settings):
    generator = torch.Generator().manual_seed(0)
    lists = {"artery": (7.0, 8.0, 9.0), "time": (0.0, 2.0, 5.0), "flip": (10.0, 11.0, 12.0)} | settings
    return MetaTensor(torch.rand(size, generator=generator), meta={"settings": lists})


def test_rows_have_values_and_settings_where_the_observation_says():
    given = image()
    whole = MatchSeries(observation=SERIES)(given)
    assert whole.shape == (len(SERIES), 2, 5)
    parts = SERIES.parts(whole.as_tensor().movedim(0, -1))
    assert torch.equal(parts.values[..., :3, 0], given.as_tensor().movedim(0, -1))
    assert torch.equal(parts.values[1, 2, :3, 1], torch.tensor([7.0, 8, 9]))
    assert torch.equal(parts.context[0, 3, :3], torch.tensor([[0.0, 10], [2, 11], [5, 12]]))
    assert not parts.measured[..., 3, :].any()
    assert SERIES.is_usable(whole.as_tensor().movedim(0, -1)).all()


def test_an_image_of_all_channels_stays():
    plain = torch.rand(len(SERIES), 3, 3)
    assert MatchSeries(observation=SERIES)(plain) is plain


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (image((5, 2, 3)), "5 channels, but 3 entries of 'artery'; expected one a channel; move that axis"),
        (image(time=(0.0, 1.0)), "3 channels, but 2 entries of 'time'"),
        (MetaTensor(torch.zeros(3, 2, 2), meta={"settings": {"artery": (1.0, 1, 1)}}), "without 'time'"),
        (
            MetaTensor(
                torch.zeros(3, 2, 2), meta={"settings": {"artery": (1.0, 1, 1), "times": (0.0, 1, 2)}}
            ),
            r"without 'time' \(it has 'artery', 'times'\); give one number",
        ),
        (torch.zeros(3, 2, 2), "without 'artery'"),
        (image((5, 2, 2), artery=(1.0,) * 5, time=(1.0,) * 5, flip=(1.0,) * 5), "takes 4 at most"),
    ],
)
def test_what_does_not_fit_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        MatchSeries(observation=SERIES)(given)


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.npz"])
def test_settings_come_from_the_file_beside_the_image(tmp_path, name):
    values = torch.rand(3, 2, 5, 4)
    if name.endswith("npz"):
        np.savez(tmp_path / name, image=values.numpy())
    else:
        write_map(tmp_path / name, values)
    (tmp_path / "scan.json").write_text(
        json.dumps({"time": [0, 2.5, 5], "artery": [1, 2, 3], "flip": [9, 9, 9], "note": "x", "hct": 0.4})
    )
    read = read_multispectral(tmp_path / name)
    assert read.meta["settings"]["time"] == (0.0, 2.5, 5.0)
    assert set(read.meta["settings"]) == {"time", "artery", "flip"}
    whole = MatchSeriesd("image", observation=SERIES)({"image": read})["image"]
    assert torch.equal(whole.affine, read.affine)
    assert torch.equal(whole[8, 0, 0], torch.zeros(4))
    assert torch.equal(whole[10, 1, 2], torch.full((4,), 2.5))
