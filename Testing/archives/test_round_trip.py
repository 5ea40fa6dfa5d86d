"""There and back, by both protocols, with a real archive; the network is cut wherever it hurts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from io import BytesIO

import pydicom
import pytest
from archive_files import SIZE, write_objects, write_series

from monai_inn.archives import storing
from monai_inn.archives.archive import held
from monai_inn.archives.connecting import open_archive
from monai_inn.archives.errors import LostError
from monai_inn.archives.fetching import fetch_series
from monai_inn.archives.journal import JOURNAL
from monai_inn.archives.storing import store_objects

PIXELS = 2 * SIZE * SIZE


def uids(images) -> set[str]:
    return {str(image.SOPInstanceUID) for image in images}


def events(folder) -> list[str]:
    return [json.loads(line)["event"] for line in (folder / JOURNAL).read_text().splitlines()]


@pytest.fixture
def source(archive, tmp_path):
    """A series that is in the archive."""
    made = write_series(tmp_path / "scanner")
    store_objects(tmp_path / "scanner", archive.address)
    return made


def test_there_and_back(archive, source, tmp_path):
    record = fetch_series(archive.address, tmp_path / "fetched", series=source[0].SeriesInstanceUID)
    assert {entry["file"] for entry in record["files"]} == {f"{uid}.dcm" for uid in uids(source)}
    for image in source:
        assert pydicom.dcmread(tmp_path / "fetched" / f"{image.SOPInstanceUID}.dcm") == image
    made = write_objects(tmp_path / "result", source)
    report = store_objects(tmp_path / "result", archive.address)
    assert (report["objects"], report["sent"], report["before"]) == (3, 3, 0)
    for one in made:
        assert pydicom.dcmread(BytesIO(archive.stored(one.SOPInstanceUID))) == one
    again = store_objects(tmp_path / "result", archive.address)
    assert (again["objects"], again["sent"], again["before"]) == (3, 0, 3)
    (tmp_path / "result" / JOURNAL).unlink()  # the archive is asked, too
    assert store_objects(tmp_path / "result", archive.address)["sent"] == 0
    assert events(tmp_path / "result") == ["found"] * 3
    times = archive.times()
    assert all(times[uid] == 1 for uid in uids(source) | uids(made))


@pytest.mark.parametrize("way", ["sent", "answered"])
def test_a_network_that_is_cut_loses_and_repeats_nothing(archive, source, tmp_path, monkeypatch, pauses, way):
    """Within each object; and within answers, when the archive has done already what it was asked to."""
    made, before = write_objects(tmp_path / "result", source), archive.times()
    cuts = iter([PIXELS // 2, PIXELS * 3 // 2, PIXELS * 5 // 2] if way == "sent" else [700, 100, 400, 900])
    step = storing._Sending.step

    def cut(sending, todo):
        at = next(cuts, None)
        limit = None if at is None else getattr(archive.network, way) + at
        setattr(archive.network, f"cut_{way}", limit)
        return step(sending, todo)

    monkeypatch.setattr(storing._Sending, "step", cut)
    store_objects(tmp_path / "result", archive.address)
    assert pauses  # it was cut
    assert archive.times() - before == dict.fromkeys(uids(made), 1)
    assert set(events(tmp_path / "result")) <= {"stored", "found"}
    assert len(events(tmp_path / "result")) == 3


def test_an_answer_that_is_cut_is_never_taken_for_a_shorter_one(archive, source):
    """Or an archive would be sent again what it has."""
    network, where = archive.network, (source[0].StudyInstanceUID, source[0].SeriesInstanceUID)
    with open_archive(archive.address) as opened:
        before = network.answered
        assert held(opened, *where) == uids(source)
        for at in range(1, network.answered - before, 83):
            network.cut_answered = network.answered + at
            with contextlib.suppress(LostError):
                assert held(opened, *where) == uids(source)
            network.cut_answered = None


def test_a_network_that_is_cut_while_fetching(archive, source, tmp_path, pauses):
    network = archive.network
    network.cut_answered = network.answered + int(1.5 * PIXELS)
    fetch_series(archive.address, tmp_path / "fetched", study=source[0].StudyInstanceUID)
    assert network.cut_answered is None
    assert pauses
    for image in source:
        assert pydicom.dcmread(tmp_path / "fetched" / f"{image.SOPInstanceUID}.dcm") == image


def test_a_network_that_stays_away_is_given_up_and_resumed(archive, source, tmp_path, pauses):
    made = write_objects(tmp_path / "result", source)
    network = archive.network
    network.cut_sent, network.stays_down = network.sent + int(1.5 * PIXELS), True
    with pytest.raises(RuntimeError, match=r"(lost|reached|answer).*given up after 5 attempts") as raised:
        store_objects(tmp_path / "result", archive.address)
    assert "\n" not in str(raised.value)
    assert pauses == sorted(pauses)
    assert len(pauses) == 5
    done = len(events(tmp_path / "result"))
    assert done == 1
    network.is_down = network.stays_down = False
    assert store_objects(tmp_path / "result", archive.address)["sent"] == 2
    assert all(archive.times()[uid] == 1 for uid in uids(made))
    network.is_down = True
    with pytest.raises(RuntimeError, match="check host, port and firewall"):
        fetch_series(archive.address, tmp_path / "fetched", study=source[0].StudyInstanceUID)
    assert not (tmp_path / "fetched").exists()


def test_killed_while_it_sends(archive, source, tmp_path):
    made = write_objects(tmp_path / "result", source)
    network = archive.network
    network.hold_sent = network.sent + int(1.5 * PIXELS)
    command = [sys.executable, "-m", "monai_inn", "store", str(tmp_path / "result"), archive.address]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert network.held.wait(600)
    process.send_signal(signal.SIGKILL)
    process.wait()
    network.hold_sent = None
    network.break_all()
    assert events(tmp_path / "result") == ["stored"]
    with (tmp_path / "result" / JOURNAL).open("a") as journal:
        journal.write('{"half a line')
    assert store_objects(tmp_path / "result", archive.address)["sent"] == 2
    assert events(tmp_path / "result") == ["stored"] * 3
    assert all(archive.times()[uid] == 1 for uid in uids(made))


def test_an_archive_that_calls_back(orthanc, monkeypatch, tmp_path):
    """C-MOVE: the archive opens a connection of its own to the port that we listen at."""
    made = write_series(tmp_path / "scanner")
    address = f"dimse://ARCHIVE@127.0.0.1:{orthanc.dicom}"
    assert not store_objects(tmp_path / "scanner", address)["committed"]  # it could not tell us
    there = f"{address}?listen={orthanc.move}"
    assert store_objects(tmp_path / "scanner", there)["committed"]
    record = fetch_series(there, tmp_path / "fetched", study=made[0].StudyInstanceUID)
    assert record["archive"] == address
    for image in made:
        assert pydicom.dcmread(tmp_path / "fetched" / f"{image.SOPInstanceUID}.dcm") == image
    monkeypatch.setattr("monai_inn.archives.errors.pause", lambda seconds: None)
    with pytest.raises(RuntimeError, match="answers C-MOVE with status"):
        fetch_series(f"{there}&aet=NOBODY", tmp_path / "again", study=made[0].StudyInstanceUID)
    with socket.create_server(("", 0)) as taken:
        there = f"{address}?listen={taken.getsockname()[1]}"
        with pytest.raises(RuntimeError, match="cannot be listened at"):
            fetch_series(there, tmp_path / "again", study=made[0].StudyInstanceUID)
