"""What planets are made of, from their masses and radii."""

PROBLEMS = {"planets": f"{__name__}.problem:Planets"}
COMMANDS = f"{__name__}.commands"
