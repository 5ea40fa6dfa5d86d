"""Options of the command line from a file, so that every run of a study has the same."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_inn.spelling import nearest

__all__ = ["add_config", "with_config"]


def add_config(sub: argparse.ArgumentParser) -> None:
    """Add ``--config`` to a verb."""
    sub.add_argument(
        "--config", metavar="JSON",
        help='file with options by verb, {"infer": {"samples": 200}}; those of the command line come first',
    )  # fmt: skip


def with_config(argv: Sequence[str], verbs: Mapping[str, argparse.ArgumentParser]) -> list[str]:
    """Arguments with those options of the file behind ``--config`` that are not given already.

    Args:
        argv: arguments of the command, the verb first.
        verbs: parser of each verb.

    Raises:
        ValueError: if the file cannot be read, or holds what the verb does not take.
    """
    finder = argparse.ArgumentParser(add_help=False)
    finder.add_argument("--config")
    path = finder.parse_known_args(argv)[0].config
    if path is None or argv[0] not in verbs:
        return [*argv]
    found = _read(Path(path), verbs)
    result = [*argv]
    for name, value in found.get(argv[0], {}).items():
        known = verbs[argv[0]]._option_string_actions
        action = known.get(f"--{name}", known.get(f"-{name}"))
        if action is None or name in ("config", "help"):
            raise ValueError(f"{path}: `{argv[0]}` has no option {name!r}; see `monai-inn {argv[0]} --help`.")
        if not any(_is_for(text, action, known) for text in argv):
            result += _written(action, value, f"{path}: {argv[0]}.{name}")
    return result


def _read(path: Path, verbs: Mapping[str, argparse.ArgumentParser]) -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(options, dict) for options in found.values()):
        raise ValueError(f'{path}: expected options by verb, such as {{"infer": {{"samples": 200}}}}.')
    if unknown := sorted(found.keys() - verbs.keys()):
        word = f"{unknown[0]!r}{nearest(unknown[0], verbs)}"
        raise ValueError(f"{path}: {word} is not a verb of monai-inn; `monai-inn --help` lists them.")
    return found


def _is_for(text: str, action: argparse.Action, known: Mapping[str, argparse.Action]) -> bool:
    """Whether an argument names an option of those known, which argparse lets people shorten."""
    name = text.split("=")[0]
    if name in known:
        return known[name] is action
    if not name.startswith("--"):
        return any(name.startswith(short) for short in action.option_strings if not short.startswith("--"))
    return len(name) > 2 and any(option.startswith(name) for option in action.option_strings)


def _written(action: argparse.Action, value: Any, where: str) -> list[str]:
    """An option as it is typed."""
    flag = action.option_strings[-1]
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ValueError(f"{where} is {value!r}; expected true or false.")
        return [flag] * value
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(v, str | int | float) and not isinstance(v, bool) for v in values):
        raise ValueError(f"{where} is {value!r}; expected a number, a text or a list of them.")
    texts = [str(v) for v in values]
    if action.nargs is not None:
        return [flag, *texts]
    if len(texts) > 1 and not isinstance(action, argparse._AppendAction):
        raise ValueError(f"{where} is {value!r}; expected one value.")
    return [f"{flag}={text}" for text in texts]
