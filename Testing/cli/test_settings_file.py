"""Options of a file: as if they were typed, after those that are."""

from __future__ import annotations

import argparse
import json

import pytest
from cli_commands import refused, run

from monai_inn.settings_file import add_config, with_config


@pytest.fixture
def verbs():
    parser = argparse.ArgumentParser(prog="infer")
    add_config(parser)
    parser.add_argument("image")
    parser.add_argument("-n", type=int, default=1)
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--below", action="append", default=[])
    parser.add_argument("--turned", type=float, nargs="+")
    parser.add_argument("--refine", action="store_true")
    return {"infer": parser}


@pytest.fixture
def parsed(verbs, tmp_path):
    def parse(settings, *typed):
        path = tmp_path / "study.json"
        path.write_text(json.dumps(settings))
        argv = with_config(["infer", "a.png", "--config", str(path), *typed], verbs)
        return verbs["infer"].parse_args(argv[1:])

    return parse


def test_options_of_a_file_are_as_if_typed(parsed):
    given = {"n": 3, "out": "there", "below": ["a=1", "b=-2"], "turned": [-3, 4.5], "refine": True}
    found = parsed({"infer": given})
    assert {name: getattr(found, name) for name in given} == given | {"turned": [-3.0, 4.5]}
    assert (found.image, found.samples) == ("a.png", 64)
    assert not parsed({"infer": {"out": "x", "refine": False}}).refine
    assert parsed({}, "-o", "x").samples == 64


def test_an_option_that_is_the_beginning_of_another_is_itself(verbs, parsed):
    verbs["infer"].add_argument("--turned-by", type=float)
    assert parsed({"infer": {"turned-by": 2.0}}, "-o", "x", "--turned", "1").turned_by == 2.0


@pytest.mark.parametrize("option", ["--conf", "--config"])
def test_the_file_is_found_behind_a_shortened_option(verbs, tmp_path, option):
    (tmp_path / "c.json").write_text('{"infer": {"samples": 17}}')
    argv = with_config(["infer", "a.png", "-o", "x", option, str(tmp_path / "c.json")], verbs)
    assert verbs["infer"].parse_args(argv[1:]).samples == 17


@pytest.mark.parametrize("typed", [("--samples", "5"), ("--samples=5",), ("--samp", "5")])
def test_what_is_typed_comes_first(parsed, typed):
    found = parsed({"infer": {"samples": 7, "below": ["a=1"], "out": "x"}}, *typed, "--below", "b=2", "-oy")
    assert (found.samples, found.below, found.out) == (5, ["b=2"], "y")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"infer": {"sample": 5}}, "no option 'sample'"),
        ({"infer": {"config": "x"}}, "no option 'config'"),
        ({"infre": {}}, r"'infre' \(did you mean 'infer'\?\) is not a verb"),
        ({"infer": 5}, "options by verb"),
        ([], "options by verb"),
        ({"infer": {"samples": [1, 2]}}, "expected one value"),
        ({"infer": {"samples": None}}, "a number, a text"),
        ({"infer": {"samples": True}}, "a number, a text"),
        ({"infer": {"turned": []}}, "a number, a text"),
        ({"infer": {"refine": 1}}, "true or false"),
    ],
)
def test_bad_files_are_refused(parsed, settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        parsed(settings, "-o", "x")


def test_the_command_refuses_in_one_line(tmp_path, capsys):
    path = tmp_path / "study.json"
    assert "No such file" in refused(capsys, "infer", "b", "i", "-o", tmp_path / "o", "--config", path)
    path.write_text("[[[[")
    assert "not JSON" in refused(capsys, "infer", "b", "i", "-o", tmp_path / "o", "--config", path)
    path.write_text('{"infer": {"samples": "many"}}')
    line = refused(capsys, "infer", "b", "i", "-o", tmp_path / "o", "--config", path)
    assert "--samples: invalid int value: 'many'" in line


@pytest.mark.usefixtures("quick_picture")
def test_infer_takes_its_options_from_a_file(bundle, image_file, tmp_path):
    path = tmp_path / "study.json"
    path.write_text(json.dumps({"infer": {"samples": 12, "below": "sao2=0.6"}, "validate": {"n": 100}}))
    assert run("infer", bundle, image_file, "-o", tmp_path / "out", "--config", path, "--interval", 0.5) == 0
    settings = json.loads((tmp_path / "out" / "result.json").read_text())["settings"]
    assert (settings["samples"], settings["interval"]) == (12, 0.5)
    assert settings["below"] == {"sao2": 0.6}
