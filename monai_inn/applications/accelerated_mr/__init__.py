"""Images of undersampled k-space of several coils."""

PROBLEMS = {"accelerated_mr": f"{__name__}.problem:AcceleratedMR"}
COMMANDS = f"{__name__}.commands"
