"""What a cohort costs: seconds and bytes per image, one worker and two, and what limits more of them.

    python benchmarks/cohort.py [--images N] [--side PIXELS] [--json]

Images are simulated for the shipped bundle of colour cameras and answered by ``infer`` and by ``ood``, on
clusters of one and of two processes of this machine that have imported everything before the clock starts.
What else the machine does slows down both, so the ratio is printed with the load. The costs that grow with
the cohort rather than with the images are measured alone: tasks that do nothing, and folders with many
entries, which every result that is written looks through for drafts of killed runs.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import pickle
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
from distributed import Client, LocalCluster

import monai_inn
from monai_inn.cohorts import run_cohort
from monai_inn.cohorts.cases import Case
from monai_inn.cohorts.cluster import spread
from monai_inn.drafts import abandoned
from monai_inn.reports.records import figures
from monai_inn.reports.results import RESULT, infer_image, trust_image

_BUNDLE = "oximetry_rgb"
_VERBS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "infer": (infer_image, {"bundle": _BUNDLE, "samples": 64}),
    "ood": (trust_image, {"bundle": _BUNDLE}),
}
_NOTHING, _ENTRIES = 2000, (1_000, 10_000, 100_000)


def simulated(folder: Path, count: int, side: int) -> None:
    problem = monai_inn.load(_BUNDLE).problem
    for k in range(count):
        _, y = problem.simulate(side * side, seed=k)
        np.savez(folder / f"image{k:04d}.npz", image=y.T.reshape(-1, side, side).numpy())


def cpu_seconds(verb: str, images: list[Path], out: Path) -> float:
    """Processor time of one image in this process, the first image apart."""
    function, options = _VERBS[verb]
    spent = []
    for image in images[:4]:
        began = time.process_time()
        function(image=image, out=out / verb / image.stem, **options)
        spent.append(time.process_time() - began)
    return float(np.median(spent[1:]))


def wall_seconds(verb: str, folder: Path, out: Path, scheduler: str) -> float:
    """Time of one image of a cohort."""
    function, options = _VERBS[verb]
    kept = {"record": RESULT, "figures": figures, "run": {}, "scheduler": scheduler}
    run_cohort(function, "image", f"{folder}/image000[0-3].npz", out / "first", options, **kept)
    began = time.monotonic()
    counts = run_cohort(function, "image", f"{folder}/*.npz", out / "all", options, **kept)["cohort"]
    assert counts["failed"] == 0
    return (time.monotonic() - began) / counts["done"]


def cluster(workers: int) -> LocalCluster:
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    )


def nothing(item: Any) -> Any:
    return item


def task_seconds(client: Client) -> float:
    """What client and scheduler spend on a task that does nothing."""
    began = time.monotonic()
    assert sum(1 for _ in spread(client, nothing, range(_NOTHING))) == _NOTHING
    return (time.monotonic() - began) / _NOTHING


def listing_seconds(folder: Path) -> dict[str, float]:
    """How long a search for drafts takes in a folder of so many entries."""
    found, made = {}, 0
    for count in _ENTRIES:
        for made in range(made, count):  # noqa: B020
            (folder / str(made)).touch()
        began = time.process_time()
        list(abandoned(folder, "image"))
        found[str(count)] = time.process_time() - began
    return found


def measure(images: int, side: int, home: Path) -> dict[str, Any]:
    folder = home / "images"
    folder.mkdir()
    simulated(folder, images, side)
    files = sorted(folder.iterdir())
    result: dict[str, Any] = {"images": images, "side": side, "cores": os.cpu_count(), "verbs": {}}
    for verb in _VERBS:
        result["verbs"][verb] = {"cpu_seconds": cpu_seconds(verb, files, home)}
    for workers in (1, 2):
        with cluster(workers) as local:
            for verb, row in result["verbs"].items():
                out = home / f"{verb}{workers}"
                row[f"wall_seconds_{workers}"] = wall_seconds(verb, folder, out, local.scheduler_address)
            with Client(local, set_as_default=False) as client:
                result[f"task_seconds_{workers}"] = task_seconds(client)
    for verb, row in result["verbs"].items():
        row["throughput_2_to_1"] = row["wall_seconds_1"] / row["wall_seconds_2"]
        record = json.loads((home / f"{verb}1/all/cohort.json").read_text())
        row["bytes_sent"] = len(pickle.dumps(Case(files[0].stem, str(files[0]))))
        row["bytes_returned"] = len(pickle.dumps(record["cases"][0]))
        row["bytes_written"] = sum(
            p.stat().st_size for p in (home / f"{verb}1/all" / files[0].stem).iterdir()
        )
        row["bytes_of_summary"] = (home / f"{verb}1/all/cohort.json").stat().st_size // images
    result["bytes_once_per_worker"] = len(cloudpickle.dumps(_VERBS["infer"]))
    listing = home / "listing"
    listing.mkdir()
    result["listing_seconds"] = listing_seconds(listing)
    result["load"] = os.getloadavg()[0]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--side", type=int, default=32, help="pixels along each axis")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        result = measure(arguments.images, arguments.side, Path(home))
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    for verb, row in result["verbs"].items():
        print(
            f"{verb}: {row['cpu_seconds']:.2f} s of a processor for an image; two workers answer "
            f"{row['throughput_2_to_1']:.2f} times as many as one; {row['bytes_sent']} bytes sent, "
            f"{row['bytes_returned']} returned, {row['bytes_written']} written, {row['bytes_of_summary']} in "
            "the summary"
        )
    print(f"a task that does nothing: {1000 * result['task_seconds_1']:.1f} ms")
    for entries, seconds in result["listing_seconds"].items():
        print(f"a folder of {entries} entries is looked through in {1000 * seconds:.1f} ms")
    print(f"load of the machine, {result['cores']} cores: {result['load']:.1f}")


if __name__ == "__main__":
    main()
