"""A good file becomes frozen values; a bad one is refused with every problem, each with its line and what to do."""

import re
from collections.abc import Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest

from gateway.audit.writer import SYNC_SECONDS
from gateway.cli import main
from gateway.config import Config, InvalidConfigError, load_config
from gateway.config.model import Audit, Sections
from gateway.config.reader import hints_of, is_secret
from gateway.domain.route import App, Route
from gateway.kernel.secret import Secret
from tests.support.configuration import CLIENT_SECRET, MINIMAL, private, write_config


def load(folder: Path, text: str = MINIMAL, environ: Mapping[str, str] | None = None) -> Config:
    return load_config(write_config(folder, text), environ or {})


def problems(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> list[tuple[int, str]]:
    """(line, message) of everything that is wrong."""
    with pytest.raises(InvalidConfigError) as caught:
        load(folder, text, environ)
    found = [re.fullmatch(r"(.+):(\d+): (.+)", line) for line in str(caught.value).splitlines()]
    assert all(item is not None and item[1] == str(folder / "gateway.toml") for item in found)
    return [(int(item[2]), item[3]) for item in found if item is not None]


def one_problem(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> tuple[int, str]:
    found = problems(folder, text, environ)
    assert len(found) == 1, found
    return found[0]


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def changed(old: str, new: str) -> str:
    assert MINIMAL.count(old) == 1, old
    return MINIMAL.replace(old, new)


# ---------------------------------------------------------------- good files


def test_the_smallest_file(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert config.server.port is None
    assert config.server.front is not None
    assert config.server.host == "127.0.0.1"
    assert config.server.tls is None
    assert config.demo is False
    assert config.identity.client_secret == Secret(CLIENT_SECRET)
    assert config.identity.embedded is False
    assert config.idp is None
    assert config.sessions.backend == "memory"
    assert (config.sessions.idle_seconds, config.sessions.absolute_seconds) == (900, 36_000)
    assert config.devices.enrolment == "officer-approval"
    assert config.policies.timezone == ZoneInfo("Asia/Tokyo")
    assert dict(config.network.zones) == {}
    assert config.console is None
    assert config.doors == ()
    assert config.to_apps() == (
        App(
            id="ehr",
            host="ehr.hospital.example",
            upstream="http://127.0.0.1:9001",
            title_ja="電子カルテ",
            title_en="Records",
            routes=(Route(id="ehr.home", app="ehr", methods=("GET",), pattern=("",), action="read"),),
        ),
    )


def test_paths_count_from_the_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_config(tmp_path / "etc")
    monkeypatch.chdir(tmp_path)
    config = load_config(path.relative_to(tmp_path), {})
    assert config.audit.dir == tmp_path / "etc" / "audit"
    assert config.policies.dir == tmp_path / "etc" / "policies"
    assert load(tmp_path / "etc", changed('dir = "audit"', 'dir = "/var/log/gateway/../audit"')).audit.dir == Path(
        "/var/log/audit"
    )


def test_the_key_of_a_new_log_is_made_with_it(tmp_path: Path) -> None:
    path = write_config(tmp_path, changed('"audit.pem"', '"new/audit.pem"\nsync_seconds = 0'))
    (tmp_path / "audit.pem").unlink()
    config = load_config(path, {})
    assert config.audit.key_file == tmp_path / "new/audit.pem"
    assert config.audit.sync_seconds == pytest.approx(0.0)


def test_the_default_of_the_log_is_the_writers() -> None:
    """The writer waits half of it, and leaves the other half to the disk."""
    assert Audit(dir=Path(), key_file=Path()).sync_seconds == 2 * SYNC_SECONDS


def test_a_whole_route(tmp_path: Path) -> None:
    text = changed(
        'id = "ehr.home"\nmethods = ["GET"]\npath = "/"\naction = "read"\n',
        'id = "ehr.vitals"\nmethods = ["GET", "POST"]\npath = "/patients/{patient}/x/**"\naction = "export"\n'
        'sensitivity = "high"\nsync = true\nwebsocket = true\nallow_parameters = true\npatient = "patient"\n'
        '[apps.headers]\nX-Remote-User = "login"\n',
    )
    app = load(tmp_path, text).to_apps()[0]
    assert app.routes == (
        Route(
            id="ehr.vitals", app="ehr", methods=("GET", "POST"), pattern=("patients", "{patient}", "x", "**"), action="export",
            sensitivity="high", sync=True, websocket=True, allow_parameters=True, patient="patient",
        ),
    )  # fmt: skip
    assert app.headers == (("X-Remote-User", "login"),)


def test_a_configuration_can_not_be_changed(tmp_path: Path) -> None:
    config = load(tmp_path)
    with pytest.raises(AttributeError):
        config.server.port = 1  # type: ignore[misc]  # the point of the test
    with pytest.raises(TypeError):
        config.network.zones["x"] = ()  # type: ignore[index]  # the point of the test


def test_origins(tmp_path: Path) -> None:
    assert load(tmp_path).origin("a.example") == "https://a.example"
    assert load(tmp_path, changed("= 443", "= 8443")).origin("a.example") == "https://a.example:8443"
    demo = changed("port = 443", 'port = 8080\npublic_scheme = "http"')
    assert load(tmp_path, demo).origin("a.localhost") == "http://a.localhost:8080"
    assert load(tmp_path, changed("public_port = 443", 'public_scheme = "http"')).origin("a.example") == "http://a.example"


def test_windows_newlines(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    path.write_bytes(MINIMAL.replace("\n", "\r\n").encode())
    assert load_config(path, {}).portal.host == "portal.hospital.example"


def test_where_names_file_and_line(tmp_path: Path) -> None:
    line = line_of(MINIMAL, 'host = "portal')
    assert load(tmp_path).where("portal", "host") == f"{tmp_path}/gateway.toml:{line}"


# ---------------------------------------------------------------- the example


def example(folder: Path) -> Path:
    """deploy/gateway.toml with the files that it names."""
    for name in ("tls/server.pem", "tls/server.key", "tls/device-ca.pem", "keys/assertion.pem", "keys/audit.pem"):
        private(folder / name, "-----BEGIN X-----\n")
    private(folder / "secrets/oidc-client", CLIENT_SECRET)
    private(folder / "secrets/seal-key", CLIENT_SECRET)
    private(folder / "secrets/redis-url", "rediss://:password@redis.hospital.example:6379/0")
    (folder / "policies").mkdir()
    path = folder / "gateway.toml"
    path.write_text((Path(__file__).parents[3] / "deploy/gateway.toml").read_text("utf-8"), "utf-8")
    return path


def test_the_example_in_deploy_loads(tmp_path: Path) -> None:
    config = load_config(example(tmp_path), {})
    assert [app.id for app in config.to_apps()] == ["ehr", "imaging", "orders", "online-consultation", "cloud-ehr"]
    assert config.idp_host() == "id.hospital.example"
    assert [(door.kind, door.socket) for door in config.doors] == [("nginx", tmp_path / "run/nginx.sock")]


def test_the_starter_policies_fit_the_example(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every route, zone and shift that they name is there, and every route can be opened by somebody."""
    path = str(example(tmp_path))
    assert main(["policy", "check", str(Path(__file__).parents[3] / "policies"), "--config", path, "--strict"]) == 0
    output = capsys.readouterr()
    assert "is good" in output.out
    assert "warning" not in output.out + output.err


def test_the_example_shows_every_key() -> None:
    shown, section = {""}, ""
    for line in (Path(__file__).parents[3] / "deploy/gateway.toml").read_text("utf-8").splitlines():
        if header := re.match(r"(?:# )?\[+([a-z_.]+)\]+", line):
            section = f"{header[1]}."
            shown |= {header[1], header[1].partition(".")[0]}
        elif key := re.match(r"(?:# )?([a-z0-9_]+) = ", line):
            shown.add(section + key[1])
    wanted: set[str] = set()
    todo: list[tuple[str, type[msgspec.Struct]]] = [("", Sections)]
    while todo:
        prefix, kind = todo.pop()
        for name, hint in hints_of(kind).items():
            wanted.add(prefix + (f"{name}_file" if is_secret(hint) else name))
            todo += [(f"{prefix}{name}.", inner) for inner in inner_types(hint) if issubclass(inner, msgspec.Struct)]
    assert wanted <= shown, wanted - shown


def inner_types(hint: object) -> list[type]:
    arguments = getattr(hint, "__args__", ())
    return ([hint] if isinstance(hint, type) else []) + [part for argument in arguments for part in inner_types(argument)]


# ---------------------------------------------------------------- unknown keys


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    text = changed("public_port = 443", "public_prot = 443")
    assert problems(tmp_path, text) == [
        (2, "unknown key `public_prot` in [server]. Did you mean `public_port`?"),
    ]


def test_an_unknown_section_names_the_nearest(tmp_path: Path) -> None:
    text = MINIMAL + "[sesions]\nidle_seconds = 900\n"
    assert one_problem(tmp_path, text) == (
        line_of(text, "[sesions]"),
        "unknown key `sesions` at the top level. Did you mean `sessions`?",
    )


def test_an_unknown_key_without_a_near_one_lists_them(tmp_path: Path) -> None:
    text = changed('dir = "policies"', 'dir = "policies"\nxyzzy = 1')
    assert one_problem(tmp_path, text) == (
        line_of(text, "xyzzy"),
        (
            "unknown key `xyzzy` in [policies]. Choose from: dir, database, timezone, holidays, national_holidays, shifts, "
            "postgres_url_file, postgres_url_env."
        ),
    )


def test_unknown_keys_in_routes_and_quoted_ones(tmp_path: Path) -> None:
    text = changed('action = "read"\n', 'action = "read"\n"web\\u0073ockets" = true\n')
    assert one_problem(tmp_path, text) == (
        line_of(text, '"web'),
        "unknown key `websockets` in [apps[1].routes[1]]. Did you mean `websocket`?",
    )


def test_control_characters_in_a_key_do_not_reach_the_terminal(tmp_path: Path) -> None:
    text = MINIMAL + '[policies."\\u001b[31m"]\n'
    assert "\x1b" not in one_problem(tmp_path, text.replace('[policies."', '["'))[1]


# ---------------------------------------------------------------- wrong and missing values


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("port = 443", 'port = "8443"', '`server.public_port` should be a whole number, not the text "8443". Correct it.'),
        ("port = 443", "port = true", "`server.public_port` should be a whole number, not true. Correct it."),
        ("port = 443", "port = 0", "`server.public_port` should be from 1 to 65535, not 0. Correct it."),
        ("port = 443", "port = 65536", "`server.public_port` should be from 1 to 65535, not 65536. Correct it."),
        ("port = 443", "port = 84.43", "`server.public_port` should be a whole number, not the number 84.43. Correct it."),
        ("port = 443", "port = 1\npublic_scheme = 1", '`server.public_scheme` should be "https" or "http", not the number 1.'),
        ("port = 443", 'port = 1\nhost = "gw"', '`server.host` should be an address of this machine, not "gw".'),
        ("[33]", "33", "`server.front.trusted_uids` should be a list, not the number 33."),
        ("[33]", '["www-data"]', '`server.front.trusted_uids[1]` should be a whole number, not the text "www-data".'),
        ("[33]", "[-1]", "`server.front.trusted_uids[1]` should be from 0 to 4294967294, not -1."),
        ('"portal.hospital.example"', '"Portal.hospital.example"', 'should be in lower case, not "Portal.hospital.example".'),
        ('"portal.hospital.example"', '"https://portal.hospital.example"', "`portal.host` should be a host name"),
        ('"portal.hospital.example"', '"portal.hospital.example:443"', "`portal.host` should be a host name"),
        ('"portal.hospital.example"', '"portal.hospital.example."', "`portal.host` should be a host name"),
        ('"portal.hospital.example"', '"-a.example"', "`portal.host` should be a host name"),
        ('"portal.hospital.example"', '"10.0.0.1"', "`portal.host` should be a host name"),
        ('"portal.hospital.example"', '"[::1]"', "`portal.host` should be a host name"),
        ('"portal.hospital.example"', '""', "`portal.host` should be a host name"),
        ('"portal.hospital.example"', '"a_b.example"', "`portal.host` should be a host name"),
        ('"portal.hospital.example"', f'"{"a" * 64}.example"', "`portal.host` should be a host name"),
        ('"https://id.other.example"', '"id.other.example"', "`identity.issuer` should be a URL without query"),
        ('"https://id.other.example"', '"https://id.other.example?x=1"', "`identity.issuer` should be"),
        ('"https://id.other.example"', '"https://user@id.other.example"', "`identity.issuer` should be"),
        ('"https://id.other.example"', '"http://id.other.example"', "an identity provider is not asked without TLS"),
        ('"audit.pem"', '"audit.pem"\nsync_seconds = 0.06', "`audit.sync_seconds` should be from 0.0 to 0.05, not 0.06."),
        ('"audit.pem"', '"audit.pem"\nsync_seconds = nan', "`audit.sync_seconds` should be from 0.0 to 0.05, not nan."),
        ('"audit.pem"', '"audit.pem"\nsync_seconds = "0"', '`audit.sync_seconds` should be a number, not the text "0".'),
        ('dir = "policies"', 'dir = "polices"', "`policies.dir` names no folder: "),
        ('dir = "policies"', 'dir = ""', "`policies.dir` should be a path, not an empty text."),
        ('dir = "policies"', 'dir = "policies"\ntimezone = "Asia/Tokio"', '`policies.timezone` "Asia/Tokio" is no time zone'),
        ('dir = "policies"', 'dir = "policies"\ntimezone = "../etc/passwd"', "is no time zone"),
        ('dir = "policies"', 'dir = "policies"\nholidays = ["12-29"]', '`policies.holidays[1]` should be a day, not "12-29".'),
        ('dir = "policies"', 'dir = "policies"\nholidays = ["20261229"]', "should be a day"),
        ('dir = "policies"', 'dir = "policies"\nholidays = ["2026-02-29"]', "should be a day"),
        ('dir = "policies"', 'dir = "policies"\nholidays = [2026-12-29]', "should be a text in quotes, not a date or time"),
        ('dir = "policies"', 'dir = "policies"\nnational_holidays = "JP"', "should be true or false"),
        ('dir = "policies"', 'dir = "policies"\nshifts.day = "8:30-17:15"', "`policies.shifts.day` is no span of a day"),
        ('dir = "policies"', 'dir = "policies"\nshifts.day = "08:30-17:75"', 'has a time that no clock shows: "08:30-17:75"'),
        ('dir = "policies"', 'dir = "policies"\nshifts.day = "08:30-08:30"', "`policies.shifts.day` begins when it ends"),
        ('dir = "policies"', 'dir = "policies"\nshifts.Day = "08:30-17:15"', "should be a short name in lower case"),
        ('"http://127.0.0.1:9001"', '"http://127.0.0.1:9001/"', "`apps[1].upstream` should be scheme, host and port alone"),
        ('"http://127.0.0.1:9001"', '"http://127.0.0.1:9001/x"', "`apps[1].upstream` should be scheme, host and port alone"),
        ('"http://127.0.0.1:9001"', '"ftp://127.0.0.1"', "`apps[1].upstream` should be scheme, host and port alone"),
        ('"http://127.0.0.1:9001"', '"http://u:p@127.0.0.1"', "`apps[1].upstream` should be scheme, host and port alone"),
        ('"http://127.0.0.1:9001"', '"http://127.0.0.1:99999"', "`apps[1].upstream` should be scheme, host and port alone"),
        ('"http://127.0.0.1:9001"', '"http://127.0.0.999"', "`apps[1].upstream` has no IPv4 address"),
        ('"http://127.0.0.1:9001"', '"http://[::1::]"', "`apps[1].upstream` has no IPv6 address"),
        ('"http://127.0.0.1:9001"', '"http://-a"', "`apps[1].upstream` has no host name"),
        ('id = "ehr"\n', 'id = "EHR"\n', '`apps[1].id` should be a short name in lower case, not "EHR".'),
        ('methods = ["GET"]', 'methods = ["get"]', "`apps[1].routes[1].methods[1]` should be a method in upper case or *"),
        ('action = "read"', 'action = "reed"', 'not the text "reed". Did you mean `read`?'),
        ('path = "/"', 'path = "a"', '`apps[1].routes[1].path` should begin with "/", not "a". Write "/a".'),
        ('path = "/"', 'path = "/a//b"', 'has a segment "" that is not possible'),
        ('path = "/"', 'path = "/a/../b"', 'has a segment ".." that is not possible'),
        ('path = "/"', 'path = "/a/**/b"', 'has a segment "**" that is not possible'),
        ('path = "/"', 'path = "/a*"', 'has a segment "a*" that is not possible'),
        ('path = "/"', 'path = "/x-{a}"', 'has a segment "x-{a}" that is not possible'),
        ('path = "/"', 'path = "/{A}"', 'has a segment "{A}" that is not possible'),
        ('path = "/"', 'path = "/a%20b"', 'has a segment "a%20b" that is not possible'),
        ('path = "/"', 'path = "/a?b"', 'has a segment "a?b" that is not possible'),
        ('path = "/"', 'path = "/{a}/{a}"', "names a place twice"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    line, text = one_problem(tmp_path, changed(old, new))
    assert message in text
    assert new.rpartition("\n")[2] in changed(old, new).split("\n")[line - 1]


@pytest.mark.parametrize("path", ["/a/", "/**", "/{a}", "/{a}/**", "/患者/{a}", "/a.b~c-d_e", "/a@b:c"])
def test_paths_that_are_possible(tmp_path: Path, path: str) -> None:
    route = load(tmp_path, changed('path = "/"', f'path = "{path}"')).to_apps()[0].routes[0]
    assert "/" + "/".join(route.pattern) == path


@pytest.mark.parametrize("upstream", ["http://[::1]:80", "https://ehr-1.internal", "http://10.0.0.1"])
def test_upstreams_that_are_possible(tmp_path: Path, upstream: str) -> None:
    assert load(tmp_path, changed("http://127.0.0.1:9001", upstream)).to_apps()[0].upstream == upstream


def test_a_missing_section(tmp_path: Path) -> None:
    text = changed('[devices]\ndatabase = "devices.sqlite3"\n', "")
    assert one_problem(tmp_path, text) == (1, "there is no [devices] section. Add it; deploy/gateway.toml shows one.")


def test_a_section_that_is_no_table(tmp_path: Path) -> None:
    text = "network = 1\n" + MINIMAL
    assert one_problem(tmp_path, text) == (1, "`network` should be a table, not the number 1. Write it as [network].")


def test_a_missing_key_is_located_at_its_table(tmp_path: Path) -> None:
    text = changed('id = "ehr.home"\n', "")
    line, message = one_problem(tmp_path, text)
    assert (line, message) == (
        line_of(text, "[[apps.routes]]"),
        "[apps[1].routes[1]] has no `id`. Add `id = ...` there: a text in quotes.",
    )


def test_all_problems_come_together_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = changed("port = 443", 'port = "x"').replace('action = "read"', 'action = "look"').replace('"policies"', '"none"')
    assert [line for line, _ in problems(tmp_path, text)] == sorted(
        line_of(text, part) for part in ('port = "x"', '"none"', 'action = "look"')
    )


# ---------------------------------------------------------------- not TOML


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[server]\nport = 1\nhost = 2\nport = 3\n", 4, "`server.port` is given twice, first on line 2. Keep one of the two."),
        ("[server]\nport = 1\n[portal]\n[server]\n", 4, "`server` is given twice, first on line 1. Keep one of the two."),
        ("[server]\nport = \n", 2, "this is not TOML: Invalid value. Correct the line; texts stand in quotes."),
        ("[server]\nhost = gateway\n", 2, "this is not TOML: Invalid value. Correct the line; texts stand in quotes."),
        ('[server]\nhost = """x', 2, "this is not TOML: "),
    ],
)
def test_a_text_that_is_not_toml(tmp_path: Path, text: str, line: int, message: str) -> None:
    found = one_problem(tmp_path, text)
    assert found[0] == line
    assert found[1].startswith(message)


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    path.write_bytes(b"[server]\nport = 1\n# \x83\x51\n")
    with pytest.raises(InvalidConfigError, match=r"gateway\.toml:3: is not UTF-8 text here\. Save the file as UTF-8\."):
        load_config(path, {})


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigError, match=r"nothing\.toml: can't be read: no such file or directory\. "):
        load_config(tmp_path / "nothing.toml", {})


def test_a_folder_and_an_endless_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigError, match="can't be read: is a directory"):
        load_config(tmp_path, {})
    with pytest.raises(InvalidConfigError, match="larger than a megabyte"):
        load_config(Path("/dev/zero"), {})


def test_a_byte_order_mark(tmp_path: Path) -> None:
    """As Notepad on Windows saves it."""
    line, message = one_problem(tmp_path, f"\ufeff{MINIMAL}")
    assert line == 1
    assert message == (
        "begins with a byte order mark (BOM), which TOML does not allow. "
        'Save it as UTF-8 without BOM; in Windows Notepad: Save as, Encoding "UTF-8", not "UTF-8 with BOM".'
    )
