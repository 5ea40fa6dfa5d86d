"""Depth of layers that are seen through one another, from light fields."""

PROBLEMS = {"lightfield": f"{__name__}.problem:LightField"}
