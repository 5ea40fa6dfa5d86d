"""What the command line says to people: options that act, words, completion, the next step."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from cli_commands import refused, run

from monai_inn import plain
from monai_inn.arguments import given
from monai_inn.cli import main
from monai_inn.parser import parser_of

UNMOVED = (
    "problems", "bundles", "ood", "convert", "view", "export", "fetch", "store", "prepare", "aim",
    "concentration", "compare", "classify",
)  # fmt: skip


def verbs():
    """Names of all verbs with their parsers."""
    return parser_of([])[1]


def test_a_seed_is_an_option_of_the_verbs_in_which_something_is_random():
    without = [n for n, p in verbs().items() if "--seed" not in p._option_string_actions]
    assert sorted(without) == sorted(UNMOVED)


def test_a_seed_where_nothing_is_random_is_refused(capsys):
    assert "unrecognized arguments: --seed 3" in refused(capsys, "problems", "--seed", 3)


def test_options_of_a_verb_without_a_seed_have_none():
    arguments = parser_of([])[0].parse_args(["aim", "poses", "--target", "0", "0", "0", "-o", "aim"])
    assert "seed" not in given(arguments)


def test_problems_are_listed_in_words(capsys):
    assert run("problems") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  * oxygen saturation of the blood: 0 to 1 (sao2)" in lines
    assert lines[-1].startswith("Next: monai-inn fit ")


def test_bundles_are_listed_in_words(capsys):
    assert run("bundles") == 0
    lines = capsys.readouterr().out.splitlines()
    for line in (
        "  dsc: DSC-MRI, up to 128 images, each with its artery and time",
        "  blood volume (CBV), in ml/100 g (cbv); calibration error 0.95%",
        "  contrast_translation: MR, 2 channels (t1, t2) of 96 × 112 pixels",
        "  FLAIR image, in grey level (flair); calibration error 4.30%",
        "  oximetry, device tivita: multispectral camera, 100 channels (500 nm to 1000 nm) a pixel",
        "  class of the image: normal, pneumonia (class); calibration error 1.44%",
    ):
        assert line in lines


def result(**changed):
    """Of ``infer``, as far as it is put into words."""
    row = {"median_of_medians": 0.7, "median_interval_width": 0.1, "unit": "1"}
    described = {"name": "sao2", "unit": "1", "description": "oxygen saturation, of the blood"}
    summary = {"valid_pixels": 3, "pixels": 4, "share_untrusted": 0.25, "trusted_pixels": {"sao2": row}}
    usual = {"out": "a b", "files": [], "pictures": [], "intended_use": "Research only."}
    return usual | {"summary": summary, "parameters": [described]} | changed


def test_maps_are_summed_up_in_words_with_the_next_step():
    text = plain.maps(result())
    assert "  Oxygen saturation: 0.7, interval width 0.1" in text
    assert "monai-inn view 'a b'" in text
    nothing = result()
    nothing["summary"] |= {"valid_pixels": 0, "share_untrusted": None, "trusted_pixels": {}}
    assert plain.maps(nothing).startswith(f"none of {nothing['summary']['pixels']} pixels is valid: values")


def test_the_demo_ends_with_what_to_type_next():
    shown = {"notes": ["a note"], "pictures": ["demo/x/overview.png"], "folders": ["demo/x", "demo/y"]}
    assert plain.demo(shown).splitlines()[-2:] == ["  monai-inn view demo/x", "  monai-inn view demo/y"]


@pytest.mark.parametrize(
    ("written", "offered"),
    [
        ("monai-inn va", "validate"),
        ("monai-inn fit oximetry --cam", "--camera"),
        ("monai-inn infer --adeq", "--adequacy"),
    ],
)
def test_the_shell_completes(written, offered, tmp_path):
    pytest.importorskip("argcomplete")
    answer = tmp_path / "answer"
    asked = {
        "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": written, "COMP_POINT": str(len(written)),
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
    }  # fmt: skip
    subprocess.run([sys.executable, "-m", "monai_inn"], env=os.environ | asked, check=True, timeout=300)
    assert answer.read_text().split() == [offered]


def test_the_viewer_says_that_it_opens_before_it_is_ready(monkeypatch, capsys):
    def serve(folder, port, open_browser):
        said.append(capsys.readouterr().err)

    said = []
    monkeypatch.setattr("monai_inn.viewer.serve", serve)
    assert main(["view", "a folder", "--no-browser"]) == 0
    assert said == ["Opening the viewer...\n"]
