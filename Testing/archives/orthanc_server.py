"""A real Orthanc of Debian's packages, on free ports, with storage of its own, for one run of the tests."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD, TITLE = "inn", "top-secret", "ARCHIVE"


def missing() -> str:
    """Why there is none; empty if there is."""
    if shutil.which("Orthanc") is None or not PLUGIN.exists():
        return "Orthanc is missing: apt-get install orthanc orthanc-dicomweb"
    return ""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Orthanc:
    """The server; what it has received is read from its own log of changes."""

    def __init__(self, home: Path) -> None:
        self.http, self.dicom, self.move = free_port(), free_port(), free_port()
        config = {
            "StorageDirectory": str(home / "db"), "IndexDirectory": str(home / "db"),
            "HttpPort": self.http, "DicomPort": self.dicom, "DicomAet": TITLE, "DicomCheckCalledAet": True,
            "RemoteAccessAllowed": False, "AuthenticationEnabled": True, "RegisteredUsers": {USER: PASSWORD},
            "Plugins": [str(PLUGIN)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "DicomModalities": {"inn": ["MONAI_INN", "127.0.0.1", self.move]},
            "DicomAlwaysAllowFind": True, "DicomAlwaysAllowGet": True, "DicomAlwaysAllowMove": True,
            "OverwriteInstances": True,  # else what is sent twice would leave no trace
        }  # fmt: skip
        home.mkdir(parents=True, exist_ok=True)
        (home / "orthanc.json").write_text(json.dumps(config))
        log = (home / "orthanc.log").open("wb")
        self.process = subprocess.Popen(["Orthanc", str(home / "orthanc.json")], stdout=log, stderr=log)
        log.close()
        while True:
            try:
                self.ask("/system")
                return
            except OSError:
                if self.process.poll() is not None:
                    raise RuntimeError((home / "orthanc.log").read_text()) from None
                time.sleep(0.02)

    def stop(self) -> None:
        self.process.kill()  # its files go with it, so nothing needs to be put in order
        self.process.wait()

    def read(self, path: str) -> bytes:
        """The answer of its own interface."""
        where = f"http://127.0.0.1:{self.http}"
        manager = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        manager.add_password(None, where, USER, PASSWORD)
        opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(manager))
        with opener.open(where + path) as answer:
            return answer.read()

    def ask(self, path: str):
        return json.loads(self.read(path))

    def received(self) -> list[str]:
        """UIDs of all instances that were ever written, one for each time."""
        changes = self.ask("/changes?limit=100000")["Changes"]
        new = [entry["ID"] for entry in changes if entry["ChangeType"] == "NewInstance"]
        uids = {one["ID"]: one["MainDicomTags"]["SOPInstanceUID"] for one in self.ask("/instances?expand")}
        return [uids[name] for name in new]

    def stored(self, uid: str) -> bytes:
        """The file of an instance."""
        instances = self.ask("/instances?expand")
        (name,) = [one["ID"] for one in instances if one["MainDicomTags"]["SOPInstanceUID"] == uid]
        return self.read(f"/instances/{name}/file")
