"""Archives: a real one where there is one, and a small one in this process, both over a network to be cut."""

from __future__ import annotations

import collections
import socketserver
from dataclasses import dataclass

import pytest

pytest.importorskip("pynetdicom", reason='pynetdicom is missing: pip install "monai_inn[archive]"')
pytest.importorskip("dicomweb_client", reason='dicomweb-client is missing: pip install "monai_inn[archive]"')
import orthanc_server
from cut_network import Network
from fake_archive import FakeArchive


@pytest.fixture(autouse=True)
def no_credentials_of_ours(monkeypatch, tmp_path):
    """Neither environment nor netrc of who runs the tests."""
    for name in ("USER", "PASSWORD", "TOKEN", "CA"):
        monkeypatch.delenv(f"MONAI_INN_ARCHIVE_{name}", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))


@pytest.fixture(autouse=True, scope="session")
def servers_that_stop_at_once():
    """Servers of the standard library look twice a second whether they are to stop."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socketserver.BaseServer.serve_forever, "__defaults__", (0.005,))
        yield


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """Seconds that would have been waited."""
    waited: list[float] = []
    monkeypatch.setattr("monai_inn.archives.errors.pause", waited.append)
    return waited


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory):
    if orthanc_server.missing():
        pytest.skip(orthanc_server.missing())
    server = orthanc_server.Orthanc(tmp_path_factory.mktemp("orthanc"))
    yield server
    server.stop()


@pytest.fixture
def fake():
    archive = FakeArchive()
    yield archive
    archive.close()


@dataclass
class Reached:
    """An archive behind a network."""

    address: str
    network: Network
    server: object

    def times(self) -> collections.Counter:
        """How often each UID was written."""
        received = self.server.received
        return collections.Counter(received if isinstance(received, list) else received())

    def stored(self, uid: str) -> bytes:
        return self.server.files[uid] if isinstance(self.server, FakeArchive) else self.server.stored(uid)


@pytest.fixture(params=["web-orthanc", "dimse-orthanc", "web-small", "dimse-small"])
def archive(request, monkeypatch, pauses):
    """Each protocol, with each archive."""
    protocol, _, which = request.param.partition("-")
    server = request.getfixturevalue("orthanc" if which == "orthanc" else "fake")
    if which == "orthanc":
        monkeypatch.setenv("MONAI_INN_ARCHIVE_USER", orthanc_server.USER)
        monkeypatch.setenv("MONAI_INN_ARCHIVE_PASSWORD", orthanc_server.PASSWORD)
        network = Network(server.http if protocol == "web" else server.dicom)
    else:
        network = Network((server.web if protocol == "web" else server.dimse).server_address[1])
    path = "/dicom-web" if which == "orthanc" else ""
    address = {
        "web": f"http://127.0.0.1:{network.port}{path}", "dimse": f"dimse://ARCHIVE@127.0.0.1:{network.port}"
    }[protocol]  # fmt: skip
    yield Reached(address, network, server)
    network.close()
