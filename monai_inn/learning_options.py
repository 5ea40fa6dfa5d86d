"""Options of the verbs that list, simulate and train problems, and of those that choose devices.

Each function is given ``verb``: it is called with a name, what it runs, a line of help and what says its
result in words, and returns a parser. ``argv`` may name a problem with options of its own.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Sequence

from monai_inn import plain, verbs
from monai_inn.arguments import add_device, add_workers

__all__ = ["add_designing", "add_learning", "add_listing"]


def add_listing(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verbs ``problems`` and ``bundles``."""
    verb(
        "problems",
        verbs.problems,
        "list the inverse problems, their parameters and units, and shipped bundles",
        plain.problems,
        is_random=False,
    )

    sub = verb(
        "bundles",
        verbs.bundles,
        "list the shipped bundles and those in folders, for whom and how good",
        plain.bundles,
        is_random=False,
    )
    sub.add_argument("folders", nargs="*", metavar="FOLDER", help="bundle, or folder that holds bundles")


def add_learning(verb: Callable[..., argparse.ArgumentParser], argv: Sequence[str]) -> None:
    """Add the verbs ``simulate`` and ``fit``."""
    sub = verb(
        "simulate",
        verbs.simulate,
        "draw parameters and observations into a Zarr store; an interrupted run continues",
        plain.simulated,
    )
    _add_problem(sub, argv)
    sub.add_argument("-n", type=int, required=True, help="number of simulations")
    sub.add_argument("-o", "--out", required=True, metavar="ZARR", help="folder to write or continue")
    add_workers(sub, "1")

    sub = verb(
        "fit", verbs.fit, "train the posterior of a problem, measure it, and write a bundle", plain.fit
    )
    _add_problem(sub, argv)
    sub.add_argument("-o", "--out", required=True, metavar="BUNDLE", help="bundle folder to write")
    sub.add_argument("--members", type=int, default=5, help="flows behind the trust score, at least 2 (5)")
    sub.add_argument(
        "--minutes", type=float, help="time budget for everything; without it the full recipe is trained"
    )
    sub.add_argument("--simulations", metavar="ZARR", help="train on what `simulate` wrote")
    sub.add_argument(
        "--resume",
        action="store_true",
        help="continue an interrupted run into the same BUNDLE, if it has a checkpoint",
    )
    add_device(sub)
    sub.add_argument("--invariant-over", metavar="NAME",
                     help="parameter whose classes are sites: use what means the same at all")  # fmt: skip
    sub.add_argument("--invariance", type=float, metavar="WEIGHT", help="weight of that in the loss (2000)")
    sub.add_argument("--warm", metavar="BUNDLE2",
                     help="where an observation is a whole image: start from the network of this bundle, by "
                     "default a shipped one of the same parameters and ranges; `none`: afresh")  # fmt: skip


def add_designing(verb: Callable[..., argparse.ArgumentParser], argv: Sequence[str]) -> None:
    """Add the verbs ``compare-devices`` and ``design-bands``."""
    sub = verb(
        "compare-devices",
        verbs.compare_devices,
        "train every device of a problem equally and show which tells how much about which parameter",
        plain.compared,
    )
    sub.add_argument("problem", metavar="PROBLEM", help="name of a problem that has devices, such as cameras")
    sub.add_argument(
        "--device", action="append", default=[], required=True, dest="specs", metavar="SPEC",
        help="name or file of a device, with settings if it has some, NAME@light=0.5; repeat it",
    )  # fmt: skip
    sub.add_argument("-o", "--out", required=True, help="folder to write, or to continue")
    sub.add_argument(
        "--minutes", type=float, help="time budget of one training; without it the full recipe is trained"
    )
    sub.add_argument("--cases", type=int, default=1000, help="phantoms that every device sees (1000)")
    add_workers(sub, "1")

    sub = verb(
        "design-bands",
        verbs.design_bands,
        "choose the bands that tell most, out of all that a device has; measure by how much they are better",
        plain.designed,
    )
    _add_problem(sub, argv)
    sub.add_argument("--bands", type=int, required=True, nargs="+", metavar="K",
                     help="bands to choose; several numbers, as 2 4 8, show how many pay")  # fmt: skip
    sub.add_argument(
        "--device", dest="spec", metavar="SPEC", help="device whose bands to choose from, NAME@light=0.5"
    )
    sub.add_argument("--parameter", action="append", default=[], dest="parameters", metavar="NAME",
                     help="what they shall tell about; may be repeated (all that maps show)")  # fmt: skip
    sub.add_argument("-o", "--out", required=True, help="folder to write")
    sub.add_argument(
        "--minutes", type=float, help="time budget of the training; without it the full recipe is trained"
    )
    sub.add_argument("--cases", type=int, default=1000, help="phantoms that figures are measured on (1000)")


def _add_problem(sub: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Add the problem and, if the command line names one, its own options."""
    sub.add_argument("problem", metavar="PROBLEM", help="name of a problem, see `monai-inn problems`; "
                     f"`{sub.prog} PROBLEM --help` lists its own options")  # fmt: skip
    if sub.prog.split()[-1] not in argv[:1] or all(text.startswith("-") for text in argv[1:]):
        return
    from monai_inn.problems.registry import find, names

    known = set(names())
    given = [(before.startswith("-"), text) for before, text in itertools.pairwise(argv) if text in known]
    if given:  # what follows an option may be its value
        name = min(given, key=lambda entry: entry[0])[1]
        find(name).add_options(sub.add_argument_group(f"options of {name}"))
