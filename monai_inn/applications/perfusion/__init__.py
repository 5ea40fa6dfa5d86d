"""Perfusion of tissue, from the curves of a contrast agent in it and in an artery."""

PROBLEMS = {"perfusion": f"{__name__}.problem:Perfusion"}
