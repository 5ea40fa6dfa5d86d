"""What may go wrong with an archive is one clear line, and nothing half-done is left."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import ssl
import subprocess
from pathlib import Path

import pydicom
import pytest
from archive_files import MAP, SEGMENTATION, write_objects, write_series
from fake_archive import Commitment, Find, Get, basic

from monai_inn.archives.addresses import parse_address
from monai_inn.archives.fetching import FETCHED
from monai_inn.archives.journal import JOURNAL
from monai_inn.archives.storing import store_objects
from monai_inn.cli import main

SECRET = "kept-to-myself"


def web(fake, path="") -> str:
    return f"http://127.0.0.1:{fake.web.server_address[1]}{path}"


def dimse(fake, title="ARCHIVE", options="") -> str:
    return f"dimse://{title}@127.0.0.1:{fake.dimse.server_address[1]}{options}"


def line_of(capsys, *arguments, code=2) -> str:
    """The one line with which a command refuses."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


@pytest.fixture
def source(fake, tmp_path, pauses):
    """A series that is in the small archive, received once."""
    made = write_series(tmp_path / "scanner")
    store_objects(tmp_path / "scanner", web(fake))
    return made


@pytest.fixture
def objects(source, tmp_path):
    return write_objects(tmp_path / "result", source)


def test_addresses():
    parsed = parse_address("dimses://OUR%20PACS@pacs.example:11112?aet=STUDY&listen=11113")
    assert (parsed.title, parsed.our_title, parsed.listen) == ("OUR PACS", "STUDY", 11113)
    assert (parsed.host, parsed.port, parsed.is_encrypted) == ("pacs.example", 11112, True)
    assert parsed.name == "dimses://OUR%20PACS@pacs.example:11112"
    assert parse_address("https://pacs.example/dicom-web/").name == "https://pacs.example/dicom-web"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("pacs.example", "write https://HOST/PATH"),
        ("https://", "write https://HOST/PATH"),
        ("dimse://ARCHIVE@pacs.example", "dimse://TITLE@HOST:PORT"),
        ("dimse://pacs.example:104", "'' is not a title"),
        ("dimse://SEVENTEEN_LETTERS@pacs.example:104", "1 to 16 letters"),
        ("dimse://A@pacs.example:104?listen=much", "unknown options"),
        ("dimse://A@pacs.example:104?title=B", "unknown options"),
        ("dimse://A@pacs.example:99999", "is not the address"),
        (f"https://inn:{SECRET}@pacs.example/dicom-web", "list of processes"),
        (f"https://pacs.example/dicom-web?token={SECRET}", "is not the address"),
        (f"dimse://A:{SECRET}@pacs.example:104", "list of processes"),
    ],
)
def test_addresses_that_are_none(tmp_path, capsys, address, message):
    line = line_of(capsys, "fetch", address, "--study", "1.2", "-o", tmp_path / "out")
    assert message in line
    assert SECRET not in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "say which series"),
        (["--modality", "MR"], "say which series"),
        (["--study", "1.2/../3"], "is not a UID"),
        (["--date", "2026-01-02"], "is not a date"),
        (["--study", "1.2.3"], "holds no such series"),
        (["--patient", "4711", "--modality", "CT"], "holds no such series"),
        (["--patient", "4711", "--description", "T2*"], "holds no such series"),
    ],
)
@pytest.mark.parametrize("address", [web, dimse])
def test_queries_without_an_answer(fake, source, tmp_path, capsys, address, options, message):
    assert message in line_of(capsys, "fetch", address(fake), *options, "-o", tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"scanner"}


@pytest.mark.parametrize("address", [web, dimse])
def test_several_series_are_listed_and_one_can_be_chosen(fake, source, tmp_path, capsys, address):
    study = source[0].StudyInstanceUID
    others = write_series(tmp_path / "other", 2, study, SeriesDescription="T2 axial")
    store_objects(tmp_path / "other", web(fake))
    line = line_of(capsys, "fetch", address(fake), "--study", study, "-o", tmp_path / "out")
    assert "2 series match" in line
    assert f"{others[0].SeriesInstanceUID} (MR, 20260102, 'T2 axial'" in line
    assert source[0].SeriesInstanceUID in line
    assert "Müller" not in line
    assert not re.search(r"\b4711\b", line)  # within a UID it may be by chance
    out = tmp_path / "out"
    assert main(["fetch", address(fake), "--study", study, "--description", "t2*", "-o", str(out)]) == 0
    assert "2 MR images of the series" in capsys.readouterr().out
    record = (out / FETCHED).read_text()
    assert json.loads(record)["series_instance_uid"] == others[0].SeriesInstanceUID
    assert not re.search(r"\b4711\b", record)
    assert len(list(out.iterdir())) == 3
    uid = source[0].SeriesInstanceUID  # alone, and into the same folder: the older one is replaced
    assert main(["fetch", address(fake), "--series", uid, "-o", str(out)]) == 0
    assert {path.name for path in out.glob("*.dcm")} == {f"{one.SOPInstanceUID}.dcm" for one in source}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((401, {}, b""), "wants to know who asks (401)"),
        ((403, {}, b""), "forbids this (403)"),
        ((404, {}, b""), "give the root of the DICOMweb service"),
        ((200, {"Content_Type": "text/html"}, b"<html>"), "answers, but not in DICOMweb"),
        ((302, {"Location": "https://elsewhere.example/dicom"}, b""), "redirects to 'https://elsewhere.example/dicom'"),
        ((503, {}, b""), "answers 503"),
        ((418, {}, b""), "answers 418"),
    ],
)  # fmt: skip
def test_what_a_web_service_may_answer(fake, objects, tmp_path, capsys, answer, message):
    fake.answers["/studies"] = answer
    assert message in line_of(capsys, "store", tmp_path / "result", web(fake))
    assert message in line_of(capsys, "fetch", web(fake), "--study", "1.2", "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert len(fake.received) == 3


def test_who_we_are_comes_from_environment_or_netrc_and_is_never_shown(
    fake, objects, tmp_path, capsys, monkeypatch
):
    fake.credentials = basic("inn", SECRET)
    result, address = tmp_path / "result", web(fake)
    assert "401" in line_of(capsys, "store", result, address)
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login inn password {SECRET}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert main(["store", str(result), address, "--json"]) == 0
    monkeypatch.delenv("NETRC")
    fake.credentials = f"Bearer {SECRET}"
    monkeypatch.setenv("MONAI_INN_ARCHIVE_TOKEN", SECRET)
    assert main(["store", str(result), address]) == 0
    shown = capsys.readouterr()
    assert SECRET not in shown.out + shown.err + (result / JOURNAL).read_text()
    line = line_of(capsys, "store", result, "http://pacs.example/dicom-web")
    assert "unencrypted; use https://" in line


@pytest.mark.parametrize("protocol", ["http://127.0.0.1:{}", "dimse://ARCHIVE@127.0.0.1:{}"])
def test_nobody_there(objects, tmp_path, capsys, pauses, protocol):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    line = line_of(capsys, "store", tmp_path / "result", protocol.format(port))
    assert "cannot be reached" in line
    assert "Connection refused" in line
    assert not pauses  # an address that never answered is not tried again
    address = protocol.replace("127.0.0.1", "archive.invalid").format(104)
    assert "cannot be reached" in line_of(capsys, "fetch", address, "--study", "1.2", "-o", tmp_path / "out")


def test_titles_that_are_not_accepted(fake, objects, tmp_path, capsys):
    line = line_of(capsys, "store", tmp_path / "result", dimse(fake, "WRONG"))
    assert "WRONG is not its title" in line
    fake.entity.require_calling_aet = ["SOMEBODY"]
    line = line_of(capsys, "store", tmp_path / "result", dimse(fake))
    assert "have it enter our title MONAI_INN, or give ?aet=OURS" in line
    assert main(["store", str(tmp_path / "result"), dimse(fake, options="?aet=SOMEBODY")]) == 0


def test_an_archive_without_a_service(fake, source, tmp_path, capsys):
    query = ["--series", source[0].SeriesInstanceUID, "-o", tmp_path / "out"]
    fake.without(Get)
    assert "add ?listen=PORT to the address, for C-MOVE" in line_of(capsys, "fetch", dimse(fake), *query)
    fake.without(Find)
    assert "offers no C-FIND to MONAI_INN" in line_of(capsys, "fetch", dimse(fake), *query)


@pytest.mark.parametrize("address", [web, dimse])
def test_some_are_taken_and_others_are_not(fake, objects, tmp_path, capsys, address):
    fake.refused[SEGMENTATION] = 0xA700
    line = line_of(capsys, "store", tmp_path / "result", address(fake))
    assert "has taken 2 of 3 objects and refused object_2.dcm (Refused: Out of Resources 0xA700)" in line
    fake.refused.clear()
    assert main(["store", str(tmp_path / "result"), address(fake)]) == 0
    assert "1 were sent now, 2 were there before" in capsys.readouterr().out
    assert sorted(fake.received[3:]) == sorted(one.SOPInstanceUID for one in objects)


def test_an_answer_that_says_nothing_is_no_acknowledgement(fake, objects, tmp_path, capsys):
    fake.answers["/studies!"] = (200, {"Content_Type": "text/plain"}, b"fine")
    line = line_of(capsys, "store", tmp_path / "result", web(fake))
    assert "object_0.dcm (its answer does not say that it was stored)" in line
    fake.answers.clear()
    assert main(["store", str(tmp_path / "result"), web(fake)]) == 0
    assert sorted(fake.received[3:]) == sorted(one.SOPInstanceUID for one in objects)


def test_a_kind_that_is_not_taken(fake, objects, tmp_path, capsys):
    fake.without(MAP)
    line = line_of(capsys, "store", tmp_path / "result", dimse(fake))
    assert "taken 1 of 3" in line
    assert "object_0.dcm (does not take Parametric Map Storage" in line


@pytest.mark.parametrize("address", [web, dimse])
def test_acknowledged_but_not_listed(fake, objects, tmp_path, capsys, address, pauses):
    fake.forgets.add(str(objects[1].SOPInstanceUID))
    for _ in range(2):
        line = line_of(capsys, "store", tmp_path / "result", address(fake))
        assert "has acknowledged object_1.dcm, but does not list it" in line
    assert len(fake.received) == 6  # not sent again
    fake.forgets.clear()
    assert main(["store", str(tmp_path / "result"), address(fake)]) == 0
    assert len(fake.received) == 6


def test_another_archive_than_that_of_the_series(fake, objects, tmp_path, capsys):
    fake.files.pop(next(iter(fake.files)))
    line = line_of(capsys, "store", tmp_path / "result", web(fake))
    assert "lacks 1 of the 3 images of the series" in line
    assert len(fake.received) == 3


def test_another_patient_than_in_the_archive(fake, objects, tmp_path, capsys):
    for path in (tmp_path / "result").glob("*.dcm"):
        image = pydicom.dcmread(path)
        image.PatientID = "another"
        image.save_as(path)
    line = line_of(capsys, "store", tmp_path / "result", web(fake))
    assert "another Patient ID there" in line
    assert not re.search(r"\b4711\b", line)  # within a UID it may be by chance
    assert len(fake.received) == 3


def without_references(folder):
    image = pydicom.dcmread(folder / "object_0.dcm")
    del image.ReferencedSeriesSequence
    image.save_as(folder / "object_0.dcm")


def twice(folder):
    (folder / "copy.dcm").write_bytes((folder / "object_0.dcm").read_bytes())


def no_uid(folder):
    image = pydicom.dcmread(folder / "object_0.dcm")
    del image.StudyInstanceUID
    image.save_as(folder / "object_0.dcm")


def a_link(folder):
    (folder / "z.dcm").symlink_to(folder.parent / "scanner" / "0.dcm")


def emptied(folder):
    for path in folder.iterdir():
        path.write_text("no DICOM")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_references, "refers to no image"),
        (twice, "has the SOP Instance UID of copy.dcm"),
        (no_uid, "lacks StudyInstanceUID"),
        (a_link, "leads out of its folder"),
        (emptied, "holds no DICOM file"),
        (lambda f: (f / JOURNAL).write_text("[]\n"), "is not a journal"),
        (lambda f: (f / JOURNAL).mkdir(), "cannot be written"),
    ],
)
def test_folders_that_are_not_sent(fake, objects, tmp_path, capsys, spoil, message):
    spoil(tmp_path / "result")
    assert message in line_of(capsys, "store", tmp_path / "result", web(fake))
    assert len(fake.received) == 3
    assert "no such folder" in line_of(capsys, "store", tmp_path / "nothing", web(fake))


def test_two_at_once(fake, objects, tmp_path, capsys):
    from monai_inn.archives.journal import open_journal

    with open_journal(tmp_path / "result", "elsewhere"):
        line = line_of(capsys, "store", tmp_path / "result", web(fake))
    assert "another `monai-inn store` is at work" in line


def test_an_older_export_that_was_stored_is_remarked_on(fake, source, objects, tmp_path, capsys):
    assert main(["store", str(tmp_path / "result"), web(fake)]) == 0
    for path in (tmp_path / "result").glob("*.dcm"):
        path.unlink()
    write_objects(tmp_path / "new", source, 2)
    for path in (tmp_path / "new").iterdir():
        path.rename(tmp_path / "result" / path.name)
    capsys.readouterr()
    assert main(["store", str(tmp_path / "result"), web(fake)]) == 0
    assert "3 objects that this folder has held before stay in the archive" in capsys.readouterr().out


@pytest.mark.parametrize("address", [web, dimse])
def test_a_full_disk(fake, source, tmp_path, capsys, monkeypatch, address):
    write = Path.write_bytes
    calls = []

    def full(path, content):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    line = line_of(
        capsys, "fetch", address(fake), "--series", source[0].SeriesInstanceUID, "-o", tmp_path / "out"
    )
    assert "No space left on device" in line
    assert {path.name for path in tmp_path.iterdir()} == {"scanner"}


def test_what_arrives_is_looked_at(fake, source, tmp_path, capsys):
    uid = str(source[1].SOPInstanceUID)
    whole, fetch = fake.files[uid], ["fetch", web(fake), "--series", source[0].SeriesInstanceUID]
    fake.files[uid] = whole[:-1000]
    assert "arrived damaged" in line_of(capsys, *fetch, "-o", tmp_path / "out")
    fake.files[uid] = whole
    other = fake.files[str(source[0].SOPInstanceUID)]
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n%s\r\n--b--" % other
    place = f"/studies/{source[0].StudyInstanceUID}/series/{source[0].SeriesInstanceUID}/instances/{uid}"
    fake.answers[place] = (200, {"Content_Type": "multipart/related; boundary=b"}, body)
    assert "sent another image in the place" in line_of(capsys, *fetch, "-o", tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"scanner"}


@pytest.fixture
def certificate(tmp_path):
    """A certificate that nobody has signed, for this computer."""
    key, path = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"]
    command += ["-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    path.write_bytes(path.read_bytes() + key.read_bytes())
    context.load_cert_chain(path)
    return path, context


def test_certificates_are_checked(fake, objects, certificate, tmp_path, capsys, monkeypatch):
    path, context = certificate
    fake.dimse.shutdown()
    fake.serve_dimse(ssl_context=context)
    fake.web.socket = context.wrap_socket(fake.web.socket, server_side=True)
    for address in (
        f"https://localhost:{fake.web.server_address[1]}",
        f"dimses://ARCHIVE@localhost:{fake.dimse.server_address[1]}",
    ):
        with monkeypatch.context() as patch:
            line = line_of(capsys, "store", tmp_path / "result", address)
            assert "its certificate is not trusted (self-signed certificate)" in line
            patch.setenv("MONAI_INN_ARCHIVE_CA", str(tmp_path / "nothing.pem"))
            assert "no such file" in line_of(capsys, "store", tmp_path / "result", address)
            patch.setenv("MONAI_INN_ARCHIVE_CA", str(path))
            assert main(["store", str(tmp_path / "result"), address]) == 0
            context.load_verify_locations(path)
            context.verify_mode = ssl.CERT_REQUIRED
            line_of(capsys, "store", tmp_path / "result", address)  # who noticed first decides what it says
            patch.setenv("MONAI_INN_ARCHIVE_CERTIFICATE", str(path))
            assert main(["store", str(tmp_path / "result"), address]) == 0
            context.verify_mode = ssl.CERT_NONE
    assert len(fake.received) == 6


@pytest.fixture
def listening(fake):
    """Address of an archive that knows where we listen."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        fake.reports_to = server.getsockname()[1]
    return dimse(fake, options=f"?listen={fake.reports_to}")


def test_an_archive_commits_to_what_it_keeps(fake, listening, objects, tmp_path, capsys):
    assert main(["store", str(tmp_path / "result"), listening]) == 0
    assert "0 were there before, and has committed to keep them" in capsys.readouterr().out
    fake.keeps_not.add(str(objects[1].SOPInstanceUID))
    line = line_of(capsys, "store", tmp_path / "result", listening)
    assert "has received all objects and does not commit to keep object_1.dcm; ask who runs" in line
    assert len(fake.received) == 6  # three images and three objects, each once


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"reports_to": 0}, "has not said within 0 s whether it keeps the objects. It must know our title"),
        ({"answer_to_commitment": 0x0110}, "does not take the request to keep the objects .status 0x0110"),
        ({}, "offers no storage commitment to MONAI_INN"),
    ],
)
def test_what_nobody_commits_to_is_said(
    fake, listening, objects, tmp_path, capsys, monkeypatch, change, warning
):
    monkeypatch.setattr("monai_inn.archives.commitment._REPORT_S", 0.2)
    for name, value in change.items():
        setattr(fake, name, value)
    if not change:
        fake.without(Commitment)
        listening = dimse(fake, options=listening[listening.index("?") :])
    assert main(["store", str(tmp_path / "result"), listening]) == 0
    shown = capsys.readouterr().out
    assert re.search(f"WARNING: .*{warning}", shown)
    assert "has committed" not in shown
