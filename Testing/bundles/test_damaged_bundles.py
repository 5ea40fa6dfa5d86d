"""Damaged, changed and foreign bundles are refused with a reason."""

from __future__ import annotations

import json
import os

import pytest

import monai_inn as mi


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: (b / "configs/metadata.json").unlink(), "is not a bundle"),
        (lambda b: (b / "configs/metadata.json").write_text('{"version": '), "is damaged"),
        (lambda b: (b / "configs/metadata.json").write_text("[1]"), "is not of type 'object'"),
        (
            lambda b: edit(b / "configs/metadata.json", lambda m: m.pop("task")),
            "'task' is a required",
        ),
        (
            lambda b: edit(b / "configs/metadata.json", lambda m: m.pop("monai_inn")),
            "'monai_inn' is a req",
        ),
        (
            lambda b: edit(b / "configs/metadata.json", lambda m: m["monai_inn"].update(weights_bytes="7")),
            "'7' is not of type 'integer', at weights_bytes",
        ),
        (
            lambda b: edit(b / "configs/metadata.json", lambda m: m["monai_inn"].update(format_version=True)),
            "True is not of type 'integer', at monai_inn/format_version",
        ),
        (
            lambda b: edit(b / "configs/metadata.json", lambda m: m["monai_inn"].update(format_version=3)),
            "format version 3, this release reads up to 2; update",
        ),
        (
            lambda b: edit(b / "configs/metadata.json", lambda m: m["monai_inn"].update(format_version=1)),
            "format version 1, whose networks .* train it again",
        ),
    ],
)
def test_a_damaged_description_is_refused_with_a_reason(bundle, damage, message):
    damage(bundle)
    with pytest.raises(ValueError, match=message):
        mi.load(bundle)


def test_tampered_truncated_and_missing_weights_are_refused(bundle):
    weights = bundle / "models/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match="the weights were changed"):
        mi.load(bundle)
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="truncated"):
        mi.load(bundle)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors: is missing"):
        mi.load(bundle)


def rehash(bundle):
    """Make the checksum right again, as someone would who changes a bundle on purpose."""
    from monai_inn.fitted.layout import sha256

    weights = bundle / "models/model.safetensors"
    edit(
        bundle / "configs/metadata.json",
        lambda m: m["monai_inn"].update(weights_sha256=sha256(weights), weights_bytes=weights.stat().st_size),
    )


def test_a_pickle_in_place_of_the_weights_is_not_loaded(bundle, tmp_path):
    """Unpickling the file would create a folder; that must not happen even with the right checksum."""
    import pickle

    trap = tmp_path / "trap"

    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(trap),)

    (bundle / "models/model.safetensors").write_bytes(pickle.dumps(Payload()))
    rehash(bundle)
    with pytest.raises(ValueError, match="is not a safetensors file"):
        mi.load(bundle)
    assert not trap.exists()


def test_expressions_in_configs_are_not_evaluated_by_load(bundle, tmp_path):
    trap = tmp_path / "trap"
    expression = f"$__import__('os').mkdir({str(trap)!r})"
    for name in ("inference", "train", "evaluate", "export"):
        edit(bundle / f"configs/{name}.json", lambda c: c.update(initialize=[expression], device=expression))
    edit(bundle / "configs/metadata.json", lambda m: m.update(description=expression))
    mi.load(bundle)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.pop("network"), "'network' is a required property"),
        (lambda h: h["network"].update(width=3), "do not fit this release"),
        (lambda h: h["network"]["flow"].update(num_blocks=3), "do not fit this release"),
        (lambda h: h["problem"].update(name="tomography"), "needs the problem 'tomography'"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(bundle, change, message):
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = bundle / "models/model.safetensors"
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["monai_inn"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(header)
    save_file(tensors, path, metadata={"monai_inn": json.dumps(header)})
    rehash(bundle)
    with pytest.raises(ValueError, match=message):
        mi.load(bundle)


def test_an_unknown_bundle_is_said_with_those_that_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such bundle.*shipped"):
        mi.load(tmp_path / "nothing")
