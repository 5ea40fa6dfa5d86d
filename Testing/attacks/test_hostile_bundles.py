"""Bundles that were made to harm: each is one clear line, quickly, and before anything is computed."""

from __future__ import annotations

import json
import os
import shutil
import struct
import tracemalloc

import pytest

import monai_inn as mi
from monai_inn.fitted.layout import METADATA, WEIGHTS, sha256
from monai_inn.fitted.reading import describe
from monai_inn.fitted.writing import save
from monai_inn.training.run import merged

FEW_BYTES = 400 << 20  # a small network itself takes a few MB, what is asked for below 4 TB


@pytest.fixture(scope="module")
def saved(camera_fit, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "bundle"
    save(camera_fit, path, monai_weights=False)
    return path


@pytest.fixture
def bundle(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "bundle")


def edit(bundle, change):
    path = bundle / METADATA
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def rehash(bundle):
    """Make size and checksum right again, as whoever changes a bundle on purpose would."""
    path = bundle / WEIGHTS
    size, digest = path.stat().st_size, sha256(path)
    edit(bundle, lambda m: m["monai_inn"].update(weights_sha256=digest, weights_bytes=size))


def parts(bundle):
    """Header and values of the weights file."""
    content = (bundle / WEIGHTS).read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write(bundle, header, values, length=None):
    text = json.dumps(header).encode() if isinstance(header, dict) else header
    claimed = struct.pack("<Q", len(text) if length is None else length)
    (bundle / WEIGHTS).write_bytes(claimed + text + values)
    rehash(bundle)


def nested(depth):
    return "[" * depth + "]" * depth


def section(**changed):
    return lambda m: m["monai_inn"].update(changed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (section(problem=3), "3 is not of type 'string', at problem"),
        (section(targets="sao2"), "not of type 'array', at targets"),
        (section(targets=[]), "at targets"),
        (section(parameters=[{"name": "sao2"}]), "'unit' is a required property, at parameters/0"),
        (section(parameters=[{"name": 1, "unit": "1", "low": 0, "high": 1}]), "at parameters/0/name"),
        (section(weights_sha256="../x"), "at weights_sha256"),
        (section(weights_bytes=-1), "at weights_bytes"),
        (section(camera=["tivita"]), "at camera"),
        (section(card={"parameters": [1]}), "at card/parameters"),
        (section(card={"parameters": {"sao2": {}}}), "'calibration_error' is a required"),
        (section(card={"parameters": {"sao2": {"calibration_error": "small"}}}), "calibration_error"),
        (section(card={"measured_on": 7}), "at card/measured_on"),
        (section(card={"recalibration": []}), "at card/recalibration"),
        (section(card={"ood": {"false_alarm_measured": "5 %"}}), "at card/ood"),
        (section(card={"calibration_noise_floor_95": "low"}), "at card/calibration_noise"),
        (lambda m: m.update(network_data_format={}), "'inputs' is a required"),
        (
            lambda m: m.update(network_data_format={"inputs": {"image": {"num_channels": "3"}}}),
            "num_channels",
        ),
        (lambda m: m.update(intended_use=None), "at intended_use"),
        (lambda m: m.update(version={"a": "b" * 10_000}), "…"),
    ],
)
def test_damaged_metadata_is_refused_before_anything_is_loaded(bundle, change, message):
    edit(bundle, change)
    with pytest.raises(ValueError, match="is damaged") as caught:
        describe(bundle)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "text",
    ["NaN", "Infinity", "1e999", "9" * 5000, nested(60), nested(100_000), '{"a": ' * 5000, '"\\ud800', "\0"],
)
def test_json_that_no_record_of_ours_holds_is_refused(bundle, text):
    content = (bundle / METADATA).read_text()
    (bundle / METADATA).write_text(content.replace('"card": {', f'"card": {{"nll": {text}, ', 1))
    with pytest.raises(ValueError, match="is damaged"):
        describe(bundle)


@pytest.mark.parametrize("name", [METADATA, WEIGHTS])
def test_files_of_a_bundle_are_regular_files_inside_it(bundle, tmp_path, name):
    (bundle / name).rename(tmp_path / "elsewhere")
    (bundle / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="leads out of its folder"):
        mi.load(bundle)
    (bundle / name).unlink()
    os.mkfifo(bundle / name)
    with pytest.raises(ValueError, match=r"is not a bundle|not a regular file"):
        mi.load(bundle)
    (bundle / name).unlink()
    (tmp_path / "elsewhere").rename(bundle / "moved")
    (bundle / name).symlink_to(bundle / "moved")
    mi.load(bundle)


def first_tensor(header):
    return next(entry for name, entry in header.items() if name != "__metadata__")


def changed(**entries):
    def change(header, values):
        first_tensor(header).update(entries)
        return header, values

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda h, v: (b"", b""),
        lambda h, v: (b"{}", b""),
        lambda h, v: (b"not json", v),
        lambda h, v: (b'{"a":' * 100_000, v),
        lambda h, v: (h | {"__metadata__": {"monai_inn": nested(100_000)}}, v),
        lambda h, v: (h | {"__metadata__": {"monai_inn": "NaN"}}, v),
        lambda h, v: (h | {"__metadata__": {}}, v),
        lambda h, v: (h, v[:-4]),
        lambda h, v: (h, v + b"more"),
        lambda h, v: (h, b"\xff" * len(v)),
        changed(data_offsets=[0, 1 << 62]),
        changed(data_offsets=[4, 0]),
        changed(data_offsets=[-4, 0]),
        changed(shape=[1 << 40, 1 << 40]),
        changed(shape=[-1]),
        changed(dtype="I32"),
        changed(dtype="F8_E4M3"),
        changed(dtype="F128"),
    ],
)
def test_damaged_weights_are_refused(bundle, change):
    write(bundle, *change(*parts(bundle)))
    with pytest.raises(ValueError, match=r"model\.safetensors: is not a safetensors file of ours"):
        mi.load(bundle)


def test_overlapping_tensors_are_refused(bundle):
    header, values = parts(bundle)
    entries = [entry for name, entry in header.items() if name != "__metadata__"]
    same = next((a, b) for a in entries for b in entries if a is not b and a["shape"] == b["shape"])
    same[0]["data_offsets"] = same[1]["data_offsets"]
    write(bundle, header, values)
    with pytest.raises(ValueError, match="is not a safetensors file of ours"):
        mi.load(bundle)


def test_a_header_that_claims_a_hundred_megabytes_is_not_read(bundle):
    (bundle / WEIGHTS).write_bytes(struct.pack("<Q", 100 << 20) + b"{")
    os.truncate(bundle / WEIGHTS, (100 << 20) + 8)
    rehash(bundle)
    tracemalloc.start()
    with pytest.raises(ValueError, match="a header of 104,857,600 bytes"):
        mi.load(bundle)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20


def described(bundle, change):
    """Change what the weights file says of itself."""
    header, values = parts(bundle)
    about = json.loads(header["__metadata__"]["monai_inn"])
    change(about)
    header["__metadata__"]["monai_inn"] = json.dumps(about)
    write(bundle, header, values)


@pytest.mark.parametrize(
    "sizes",
    [
        {"flow": {"hidden_channels": [1_000_000, 1_000_000]}},
        {"flow": {"num_blocks": 1_000_000_000}},
        {"density": {"members": 1_000_000_000}},
        {"encoder": {"width": 10_000_000}},
        {"num_ood_scores": 1_000_000_000_000},
        {"encoder": {"out_channels": 1 << 62}},
        {"recalibration_cases": 1_000_000_000_000},
        {"encoder": {"kind": "image", "num_parameters": 13, "components": 14, "templates": 1_000_000_000}},
        {"flow": {"groups": [1, 1_000_000]}},
    ],
)
def test_a_huge_network_is_refused_before_it_takes_memory(bundle, sizes):
    import resource

    described(bundle, lambda about: about.update(network=merged(about["network"], sizes)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="do not fit this release"):
        mi.load(bundle)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < FEW_BYTES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a["network"]["flow"].update(groups=[2, 11]), "do not fit"),
        (lambda a: a["network"]["flow"].update(num_blocks="four"), "do not fit"),
        (lambda a: a["network"]["flow"].update(hidden_channels=8), "do not fit"),
        (lambda a: a["network"]["flow"].update(coupling="glue"), "do not fit"),
        (lambda a: a["network"]["flow"].update(seed="zero"), "do not fit"),
        (lambda a: a["network"].update(num_ood_scores=-1), "is not a safetensors file of ours"),
        (lambda a: a["network"].update(encoder="vector"), "is not a safetensors file of ours"),
        (lambda a: a["network"]["encoder"].update(kind="glue"), "needs the part of a network 'glue'"),
        (lambda a: a["network"]["encoder"].update(kind="conditional"), "do not fit"),
        (lambda a: a["problem"].update(name="linear_gaussian", config={}), "do not fit"),
        (lambda a: a["problem"].update(config={"camera": 5}), "do not fit"),
        (lambda a: a["problem"].update(config={"camera": {"name": "x"}}), "do not fit"),
        (lambda a: a["problem"].update(config={"what": [None]}), "do not fit"),
        (lambda a: a["problem"]["config"].update(camera="rgb_nikon_d5100"), "the network has 15 features"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(bundle, change, message):
    described(bundle, change)
    with pytest.raises(ValueError, match=message):
        mi.load(bundle)
