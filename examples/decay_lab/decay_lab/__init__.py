"""A package that is not ours: a problem, a verb of the command line, and a page of the viewer."""

COMMANDS = f"{__name__}.commands"
RESULTS = {"half_life.json": f"{__name__}.page"}
