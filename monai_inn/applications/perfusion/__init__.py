"""Perfusion of tissue: from the curves of a contrast agent, and from diffusion-weighted signals."""

PROBLEMS = {
    "dsc": f"{__name__}.dsc:BolusPassage",
    "ivim": f"{__name__}.ivim:IntravoxelMotion",
    "perfusion": f"{__name__}.problem:Perfusion",
}
COMMANDS = f"{__name__}.commands"
DEMO = f"{__name__}.demo"
