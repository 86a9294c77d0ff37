"""nginx as the application behind everything, and as the front that others are compared with. One worker each."""

import grp
import os
import pwd
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.children import BenchError, Children

BODY: Final = ("x" * 63 + "\n") * 16
"""1 KiB: what a small page of an application weighs."""

_FRAME: Final = """\
{user}daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{inside}
}}
"""

_APPLICATION: Final = """\
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ default_type text/plain; return 200 "{body}"; }}
    }}
"""

_POOL: Final = """\
    upstream {name} {{ server {server}; keepalive 64; keepalive_requests 100000000; }}
"""

_FORWARD: Final = """\
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_pass http://application;
"""

_PLAIN: Final = """\
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
{passes}        }}
    }}
"""

_ASKING: Final = """\
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            auth_request /ask;
{passes}        }}
        location = /ask {{
            internal;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-Method $request_method;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Uri $request_uri;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_pass http://{asked}{path};
        }}
    }}
"""


def pool(name: str, server: str) -> str:
    """Return an `upstream` block with kept connections."""
    return _POOL.format(name=name, server=server)


def plain(port: int) -> str:
    """Return a server that passes everything on to the pool `application`."""
    return _PLAIN.format(port=port, passes=_FORWARD)


def asking(port: int, asked: str, path: str) -> str:
    """Return one that asks `path` of the pool `asked` first."""
    return _ASKING.format(port=port, asked=asked, path=path, passes=_FORWARD)


def application(port: int) -> str:
    """Return the application: a fixed answer of 1 KiB."""
    return _APPLICATION.format(port=port, body=BODY.replace("\n", "\\n"))


async def start_nginx(children: Children, name: str, inside: str, ports: Sequence[int], *, files: int) -> Path:
    """Start one with these blocks inside `http`, wait for its ports, and return its folder."""
    program = find_nginx()
    folder = children.folder / name
    folder.mkdir()
    # As root it would hand its workers to a user who may not look into our folder.
    me = pwd.getpwuid(os.getuid())
    user = f"user {me.pw_name} {grp.getgrgid(me.pw_gid).gr_name};\n" if os.getuid() == 0 else ""
    text = _FRAME.format(user=user, folder=folder, files=files, connections=min(files, 16_384), inside=inside)
    config = folder / "nginx.conf"
    config.write_text(text, "utf-8")
    process = children.start(name, [program, "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(config)])
    for port in ports:
        await children.ready(name, process, port)
    return folder


def find_nginx() -> str:
    """Return the program. BenchError where it is not installed."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise BenchError("nginx is not installed: make setup-test")
    return found
