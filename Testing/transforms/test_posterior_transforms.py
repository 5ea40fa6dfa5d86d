"""Posterior maps and out-of-distribution masks in a chain, over a posterior whose maps are known."""

import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms import Compose

from monai_inn.transforms import OutOfDistributionMask, OutOfDistributionMaskd, PosteriorMaps, PosteriorMapsd

AFFINE = torch.diag(torch.tensor([-2.0, 3.0, 4.0, 1.0], dtype=torch.float64))


class KnownPosterior:
    """Maps that are simple functions of the image and of what was asked."""

    def __init__(self, batch=False, **extra):
        self.batch, self.extra = batch, extra

    def maps(self, image, *, samples, interval, seed, batched):
        assert not batched
        plain = image.as_tensor()
        median = MetaTensor(plain[:2] * 10, meta={"channel_names": ("sao2", "vhb"), "units": ["1", "1"]})
        found = {
            "median": median,
            "interval_width": torch.full_like(plain[:2], interval * samples + seed),
        } | self.extra
        return {k: v[None] if self.batch else v for k, v in found.items()}


@pytest.fixture
def image():
    return MetaTensor(torch.arange(18.0).reshape(3, 2, 3), affine=AFFINE.clone())


@pytest.mark.parametrize("batch", [False, True])
def test_maps_are_stacked_and_named(image, batch):
    out = Compose([PosteriorMaps(posterior=KnownPosterior(batch), samples=4, interval=0.5, seed=7)])(image)
    assert out.meta["channel_names"] == ("median_sao2", "median_vhb", "interval_width_0", "interval_width_1")
    torch.testing.assert_close(out.as_tensor()[:2], image.as_tensor()[:2] * 10)
    assert (out[2:] == 9.0).all()
    torch.testing.assert_close(out.affine, AFFINE)


@pytest.mark.parametrize("batch", [False, True])
def test_dictionary_has_one_key_for_each_map(image, batch):
    chain = Compose([PosteriorMapsd("image", posterior=KnownPosterior(batch), names=["median"])])
    out = chain({"image": image, "other": 1})
    assert set(out) == {"image", "other", "image_median"}
    assert out["image_median"].shape == (2, 2, 3)
    assert out["image_median"].meta["units"] == ["1", "1"]
    torch.testing.assert_close(out["image_median"].affine, AFFINE)


def test_untrusted_are_flagged_undecided_and_invalid(image):
    flags = torch.tensor([[[0.0, 1.0, torch.nan], [0.0, 0.0, 0.0]]])
    valid = torch.tensor([[[True, True, True], [True, False, True]]])
    expected = [[[False, True, True], [False, True, False]]]
    out = OutOfDistributionMask(posterior=KnownPosterior(ood=flags, valid=valid))(image)
    assert out.dtype == torch.bool
    assert out.tolist() == expected
    torch.testing.assert_close(out.affine, AFFINE)
    named = OutOfDistributionMaskd("image", posterior=KnownPosterior(True, ood=flags, valid=valid))(
        {"image": image}
    )
    assert named["image_untrusted"].tolist() == expected


def test_messages(image):
    with pytest.raises(ValueError, match=r"no map 'ood'; it gives median, interval_width"):
        OutOfDistributionMask(posterior=KnownPosterior())(image)
    with pytest.raises(ValueError, match=r"gives no maps \['mode'\]; it gives median"):
        PosteriorMaps(posterior=KnownPosterior(), names=["mode"])(image)
    with pytest.raises(ValueError, match=r"map of shape \(1, 9, 9\) for an image of shape \(3, 2, 3\)"):
        PosteriorMaps(posterior=KnownPosterior(waic=torch.zeros(1, 9, 9)))(image)
    for options in ({"samples": 0}, {"interval": 1.0}, {"interval": 95}):
        with pytest.raises(ValueError, match="expected"):
            PosteriorMaps(posterior=KnownPosterior(), **options)
