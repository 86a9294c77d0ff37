"""The messages of the gRPC door: generated as committed, and readable whatever a client wrote."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.doors.envoy import check_pb2 as pb
from gateway.doors.envoy import grpc as door

ROOT = Path(__file__).parents[3]


def test_what_is_committed_is_what_protoc_writes(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHON": sys.executable}
    subprocess.run(["sh", str(ROOT / "deploy/dev/protoc.sh"), str(tmp_path)], check=True, env=environment)
    for name in ("check_pb2.py", "check_pb2.pyi"):
        written = tmp_path / "gateway/doors/envoy" / name
        assert written.read_bytes() == (ROOT / "gateway/doors/envoy" / name).read_bytes()


def field(number: int, kind: int, data: bytes) -> bytes:
    length = bytes([len(data)]) if len(data) < 128 else bytes([len(data) & 127 | 128, len(data) >> 7])
    return bytes([number << 3 | kind]) + length + data


def message(value: bytes, path: bytes = b"/x") -> bytes:
    """A CheckRequest with one header field, by hand, with the numbers of the published API."""
    header = field(1, 2, b"x-a") + field(3, 2, value)
    http = field(2, 2, b"GET") + field(4, 2, path) + field(5, 2, b"ehr.example") + field(13, 2, field(1, 2, header))
    return field(1, 2, field(4, 2, field(2, 2, http)))


@pytest.mark.parametrize("value", [b"\xff\xfe", b"\xe3\x81", b"\x00", b"plain", "佐藤".encode()])
def test_values_that_are_no_text_are_read_as_they_are_GHSA_9g5w(value: bytes) -> None:  # noqa: N802  an id
    question = pb.CheckRequest()
    question.ParseFromString(message(value, b"/\xff"))
    raw = door._described(question)
    assert raw.headers == (("Host", "ehr.example"), ("x-a", value.decode("utf-8", "surrogateescape")))
    assert (raw.method, raw.target) == ("GET", "/\udcff")
