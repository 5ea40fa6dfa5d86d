"""One MR contrast from others: which images of it are possible, and where they differ."""

PROBLEMS = {"contrast_translation": f"{__name__}.problem:ContrastTranslation"}
COMMANDS = f"{__name__}.commands"
