"""Orthanc (Debian package `orthanc`), a DICOM server that others wrote, on its own port and directory; images to send to it."""

import contextlib
import io
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from tests.support.ports import free_port

START_SECONDS = 20.0
SIDE = 2_240
"""Rows and columns: with two bytes a pixel, an image has ten megabytes."""


@contextlib.contextmanager
def running_orthanc(folder: Path) -> Iterator[int]:
    """Run one on loopback, on a port of its own; yield the port."""
    found = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if found is None:
        raise RuntimeError("Orthanc is not installed: run `make setup-test`, or install the Debian package orthanc")
    port = free_port()
    folder.mkdir(parents=True)
    settings = {
        "Name": "tests", "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "index"), "Plugins": [],
        "HttpPort": port, "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "DicomServerEnabled": False,
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings), "utf-8")
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen([found, str(folder / "orthanc.json")], cwd=folder, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + START_SECONDS
        while b"Orthanc has started" not in (folder / "output").read_bytes():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Orthanc did not start:\n{(folder / 'output').read_text('utf-8', 'replace')}")
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(20)


async def ask_directly(port: int, path: str) -> object:
    """What Orthanc itself says, not through the gateway."""
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}{path}") as reply:
        return await reply.json(content_type=None)


def images(studies: int, each: int) -> Iterator[tuple[str, bytes]]:
    """Make studies of so many ten-megabyte images, of synthetic patients; yield each patient's id and a DICOM file."""
    pixels = bytes(range(256)) * (SIDE * SIDE * 2 // 256)
    for number in range(1, studies + 1):
        study, series = generate_uid(), generate_uid()
        for instance in range(1, each + 1):
            made = pydicom.Dataset()
            made.SpecificCharacterSet = "ISO_IR 192"
            made.SOPClassUID, made.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
            made.StudyInstanceUID, made.SeriesInstanceUID = study, series
            made.PatientID, made.PatientName = f"SYN{number:04}", f"MIHON^TARO{number}=見本^太郎{number}"
            made.StudyDate, made.StudyDescription, made.Modality = "20270401", f"SYNTHETIC {number}", "OT"
            made.SeriesNumber, made.InstanceNumber = 1, instance
            made.Rows = made.Columns = SIDE
            made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
            made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 0
            made.PixelData = pixels
            made.file_meta = FileMetaDataset()
            made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            file = io.BytesIO()
            pydicom.dcmwrite(file, made, enforce_file_format=True)
            yield made.PatientID, file.getvalue()
