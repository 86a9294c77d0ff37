#!/bin/sh
# Writes gateway/doors/envoy/check_pb2.py and .pyi anew from check.proto, with the protoc of .venv (grpcio-tools; `make setup-test`).
# A test compares what it writes with what is committed. Option: another folder to write below; PYTHON: another Python.
set -eu

cd "$(dirname "$0")/../.."
"${PYTHON:-.venv/bin/python}" -m grpc_tools.protoc --proto_path=. --python_out="${1:-.}" --pyi_out="${1:-.}" gateway/doors/envoy/check.proto
