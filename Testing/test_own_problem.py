"""The page on problems of one's own: its code runs from the top to the bottom."""

from __future__ import annotations

import re
from pathlib import Path

import monai_inn
from monai_inn.networks.parts import PARTS
from monai_inn.problems.registry import PROBLEMS
from monai_inn.training import Recipe

PAGE = Path(monai_inn.__file__).parents[1] / "docs/own_problem.md"
BRIEF = Recipe(
    num_simulations=2048, posterior_steps=5, density_steps=3, preview_steps=2,
    preview_observations=64,
    held_out=256, guard=200, measured=64, batch_size=128,
)  # fmt: skip
SMALL = {part: {"num_blocks": 2, "hidden_channels": (16,)} for part in ("flow", "density")}


def test_code_of_the_page_runs(tmp_path, monkeypatch):
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
    assert code.count("mi.fit(") == 5
    brief, number = re.subn(r"minutes=[\d.]+", "recipe=BRIEF, members=2, network=SMALL", code)
    assert number == 5
    monkeypatch.chdir(tmp_path)
    for registry in (PROBLEMS, PARTS):
        monkeypatch.setattr(registry, "known", dict(registry.known))
    names = {"BRIEF": BRIEF, "SMALL": SMALL, "__name__": "page"}
    exec(compile(brief.replace("20_000", "2048"), str(PAGE), "exec"), names)
    assert names["samples"].shape == (1000, 1, 2)
