"""Damaged files of every reader: data, or one line of text; never a crash, a hang, or much memory."""

from __future__ import annotations

import pytest
from fuzz_readers import attack, little_memory, mutate, same_numbers
from readable_files import GROUPS

from monai_inn.reading.limits import MAX_GB

IN_THE_SUITE = 60  # attacks on a group of readers
MORE_BYTES = 700 * 2**20


@pytest.mark.parametrize("group", GROUPS)
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, monkeypatch, attack_numbers, group):
    monkeypatch.setenv(MAX_GB, "0.1")
    folder = tmp_path / "attacked"
    folder.mkdir()
    targets = list(GROUPS[group](folder).items())
    whole = {name: (target.path.read_bytes(), target.read(target.path)) for name, target in targets}
    failures, counts = [], {"read": 0, "refused": 0}
    for number in attack_numbers(IN_THE_SUITE, 1 / len(GROUPS)):
        name, target = targets[number % len(targets)]
        content, expected = whole[name]
        kept = content[: target.guarded or 0]
        damaged, done = mutate(content[len(kept) :], number)
        target.path.write_bytes(kept + damaged)
        try:
            with little_memory(MORE_BYTES):
                found = attack(target.read, target.path, folder)
            counts["refused" if found is None else "read"] += 1
            if target.guarded is not None and found is not None:
                assert same_numbers(found, expected), "other numbers in spite of a checksum"
        except AssertionError as error:
            failures.append(f"{name}, seed {number} ({done}): {error}")
        target.path.write_bytes(content)
    print(f"{group}: {counts}, {len(failures)} failures")
    assert not failures, "\n".join(failures[:40])


@pytest.mark.parametrize(
    ("group", "name", "seeds"),
    [
        ("images", "raw.nrrd", [162, 1411, 3568, 8410]),  # a line of a kilobyte, of which the library died
        ("images", "raw.nii", [4476]),  # an extension of the header of 2 GB
        ("images", "raw.npz", [19984, 26710, 52360]),  # line breaks in the names of arrays
        ("images", "packed.npz", [32031]),
        ("xrays", "packed.mha", [2923]),  # so many axes that the library died of them
        ("tables", "camera.csv", [6120]),  # a wavelength of a metre
        ("tables", "camera.json", [1505, 2069, 5897, 8285]),  # whose message did not name the file
        ("tables", "filter.csv", [1602, 2262, 3846, 6654]),
        ("tables", "samples.csv", [31034]),  # rows shorter than the header
        ("xrays", "angio.dcm", [66749]),  # line breaks in the modality
        ("results", "slice.dcm", [659, 1359, 2539, 3171]),
        ("results", "result.json", [1200, 2492]),
    ],
)
def test_attacks_that_once_succeeded(tmp_path, monkeypatch, group, name, seeds):
    monkeypatch.setenv(MAX_GB, "0.1")
    folder = tmp_path / "attacked"
    folder.mkdir()
    target = GROUPS[group](folder)[name]
    content = target.path.read_bytes()
    for seed in seeds:
        target.path.write_bytes(mutate(content, seed)[0])
        with little_memory(MORE_BYTES):
            attack(target.read, target.path, folder)
