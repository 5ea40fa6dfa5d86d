"""Which class an image belongs to, what of it says so, and whether it is of any class at all."""

PROBLEMS = {"labelled_images": f"{__name__}.problem:LabelledImages"}
COMMANDS = f"{__name__}.commands"
RESULTS = {"classification.json": f"{__name__}.viewer.opening"}
