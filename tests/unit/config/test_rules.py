"""Sections that are right by themselves have to agree with each other."""

import re
from pathlib import Path

import pytest

from gateway.app.calendar import calendar_of
from gateway.config import InvalidConfigError, load_config
from tests.support.configuration import MINIMAL, private, write_config

EMBEDDED = MINIMAL.replace(
    'issuer = "https://id.other.example"', 'issuer = "https://id.hospital.example"\nembedded = true'
).replace("[devices]", '[idp]\ndata_dir = "idp"\n\n[devices]')

APP = """
[[apps]]
id = "imaging"
host = "imaging.hospital.example"
upstream = "http://127.0.0.1:9002"
title_ja = "画像"
title_en = "Imaging"
"""


SEAL = 'seal_key_file = "client-secret"'


def route(identifier: str = "ehr.x", *, methods: str = '["GET"]', path: str = "/x", more: str = "") -> str:
    return f'[[apps.routes]]\nid = "{identifier}"\nmethods = {methods}\npath = "{path}"\naction = "read"\n{more}\n'


def told(folder: Path, text: str) -> list[str]:
    """`line: message` of each problem."""
    private(folder / "redis-url", "redis://127.0.0.1/0")
    private(folder / "short", "x" * 31)
    with pytest.raises(InvalidConfigError) as caught:
        load_config(write_config(folder, text), {})
    return [re.sub(r"^.*/gateway\.toml:", "", line) for line in str(caught.value).splitlines()]


def accepted(folder: Path, text: str) -> None:
    load_config(write_config(folder, text), {})


def check(folder: Path, text: str, key: str, what: str) -> None:
    """Exactly one problem, on the line that begins with `key` (its last one), which begins with `what`."""
    found = told(folder, text)
    assert len(found) == 1, found
    number, _, message = found[0].partition(": ")
    assert message.startswith(what), message
    assert text.split("\n")[int(number) - 1].startswith(key)


# ---------------------------------------------------------------- hosts and ids


def test_a_host_of_two_apps(tmp_path: Path) -> None:
    text = MINIMAL + APP.replace("imaging.hospital.example", "ehr.hospital.example") + route("imaging.x")
    line = MINIMAL[: MINIMAL.index('host = "ehr.')].count("\n") + 1
    check(
        tmp_path, text, "host", f'the host "ehr.hospital.example" is already taken by line {line}. Give each its own host name.'
    )


def test_a_host_of_an_app_and_the_portal(tmp_path: Path) -> None:
    check(
        tmp_path,
        MINIMAL.replace("ehr.hospital", "portal.hospital"),
        "host",
        'the host "portal.hospital.example" is already taken',
    )


def test_a_host_of_the_console_and_the_identity_provider(tmp_path: Path) -> None:
    check(
        tmp_path,
        EMBEDDED + '[console]\nhost = "id.hospital.example"\n',
        "issuer",
        'the host "id.hospital.example" is already taken',
    )


def test_a_holiday_twice(tmp_path: Path) -> None:
    days = 'holidays = ["2026-12-29", "2026-12-30", "2026-12-29"]'
    check(tmp_path, MINIMAL.replace('dir = "policies"', f'dir = "policies"\n{days}'), days, '"2026-12-29" stands twice')


def test_national_holidays_are_japans(tmp_path: Path) -> None:
    abroad = MINIMAL.replace('dir = "policies"', 'dir = "policies"\ntimezone = "Europe/Berlin"')
    check(tmp_path, abroad, 'timezone = "Europe/Berlin"', "Japan's national holidays would be holidays in Europe/Berlin")
    accepted(tmp_path / "other", abroad.replace('dir = "policies"', 'dir = "policies"\nnational_holidays = false'))
    accepted(tmp_path / "same", abroad.replace("Europe/Berlin", "Japan"))


def test_the_calendar_is_what_the_section_says(tmp_path: Path) -> None:
    given = 'dir = "policies"\nholidays = ["2026-12-29"]\nshifts = { night = "16:30-09:00", day = "08:30-17:15" }'
    text = MINIMAL.replace('dir = "policies"', given)
    calendar = calendar_of(load_config(write_config(tmp_path, text), {}))
    morning = calendar.at(1_798_502_340)  # 2026-12-29 08:59 in Tokyo
    assert (morning.day, morning.holiday, morning.shifts) == (20261229, True, ("day", "night"))
    assert not calendar.at(1_798_502_340 - 86_400).holiday


def test_an_app_id_twice(tmp_path: Path) -> None:
    text = MINIMAL + APP.replace('"imaging"', '"ehr"') + route("ehr.x")
    check(tmp_path, text, "id", 'the app id "ehr" is already taken')


def test_the_consoles_id_is_taken(tmp_path: Path) -> None:
    text = '[console]\nhost = "c.hospital.example"\n' + MINIMAL + APP.replace('"imaging"', '"console"') + route("console.x")
    check(tmp_path, text, "id", 'the app id "console" is already taken')


# ---------------------------------------------------------------- routes


def test_a_route_id_of_another_app(tmp_path: Path) -> None:
    check(
        tmp_path,
        MINIMAL + route("imaging.x"),
        "id",
        'the route id "imaging.x" does not begin with its app\'s id. Write "ehr.NAME".',
    )


def test_a_route_id_that_only_looks_like_the_apps(tmp_path: Path) -> None:
    check(tmp_path, MINIMAL + route("ehr2.x"), "id", 'the route id "ehr2.x" does not begin with its app\'s id')


def test_a_route_id_twice(tmp_path: Path) -> None:
    check(tmp_path, MINIMAL + route("ehr.home"), "id", 'the route id "ehr.home" is already taken by line')


def test_an_app_without_routes(tmp_path: Path) -> None:
    check(tmp_path, MINIMAL + APP + "routes = []\n", "routes", 'the app "imaging" has no route')


@pytest.mark.parametrize(
    ("text", "key", "what"),
    [
        (route(methods="[]"), "methods", 'the route "ehr.x" has no method. List them, or write ["*"] for any.'),
        (route(methods='["*", "GET"]'), "methods", '"*" stands beside other methods'),
        (route(methods='["TRACE"]'), "methods", "CONNECT and TRACE never go through a gateway"),
        (route(methods='["POST"]', more="websocket = true"), "websocket", 'the route "ehr.x" allows WebSocket but not GET'),
        (route(path="/.gateway/x"), "path", "/.gateway belongs to the gateway on every host"),
        (route(path="/.gateway"), "path", "/.gateway belongs to the gateway on every host"),
        (route(path="/{p}", more='patient = "q"'), "patient", 'the path of "ehr.x" has no place "q". Its places are: p.'),
        (route(more='patient = "q"'), "patient", 'the path of "ehr.x" has no place "q". Name one in the path'),
    ],
)
def test_a_route_that_can_not_be(tmp_path: Path, text: str, key: str, what: str) -> None:
    check(tmp_path, MINIMAL + text, key, what)


@pytest.mark.parametrize(
    "text",
    [
        route(methods='["*"]', more="websocket = true"),
        route(path="/{p}", more='patient = "p"'),
        route(more='patient = "query:pid"'),
        route(path="/x/.gateway"),
    ],
)
def test_a_route_that_can_be(tmp_path: Path, text: str) -> None:
    accepted(tmp_path, MINIMAL + text)


@pytest.mark.parametrize(
    ("first", "second", "reached"),
    [
        (("/**", '["GET"]'), ("/a", '["GET"]'), False),
        (("/**", '["*"]'), ("/a/{b}", '["GET", "POST"]'), False),
        (("/**", '["GET"]'), ("/a", '["GET", "POST"]'), True),
        (("/{a}", '["GET"]'), ("/b", '["GET"]'), False),
        (("/b", '["GET"]'), ("/{a}", '["GET"]'), True),
        (("/{a}", '["GET"]'), ("/b/c", '["GET"]'), True),
        (("/{a}/{b}", '["GET"]'), ("/b", '["GET"]'), True),
        (("/a/**", '["GET"]'), ("/a/b/**", '["GET"]'), False),
        (("/a/b", '["GET"]'), ("/a/**", '["GET"]'), True),
        (("/{a}/b", '["GET"]'), ("/**", '["GET"]'), True),
        (("/a/{b}", '["GET"]'), ("/a/", '["GET"]'), True),
        (("/a/**", '["GET"]'), ("/a/{b}/c", '["POST"]'), True),
    ],
)
def test_a_route_that_is_never_reached(tmp_path: Path, first: tuple[str, str], second: tuple[str, str], reached: bool) -> None:
    text = MINIMAL.replace('path = "/"', f'path = "{first[0]}"').replace('["GET"]', first[1])
    text += route(path=second[0], methods=second[1])
    if reached:
        accepted(tmp_path, text)
    else:
        check(tmp_path, text, "[[apps.routes]]", 'the route "ehr.x" is never reached: "ehr.home" stands before it')


# ---------------------------------------------------------------- headers and upstreams


@pytest.mark.parametrize(
    "name",
    [
        "Connection",
        "transfer-encoding",
        "Upgrade",
        "TE",
        "Host",
        "Cookie",
        "Authorization",
        "Content-Length",
        "Set-Cookie",
        "Origin",
    ],
)
def test_a_header_of_http(tmp_path: Path, name: str) -> None:
    check(tmp_path, f'{MINIMAL}[apps.headers]\n{name} = "login"\n', name, f'the header "{name}" belongs to HTTP itself')


@pytest.mark.parametrize(
    "name", ["X-Gateway-Assertion", "x-gateway-user", "X-Forwarded-User", "Forwarded", "X-Request-Id", "X-Real-IP"]
)
def test_a_header_of_the_gateway(tmp_path: Path, name: str) -> None:
    check(tmp_path, f'{MINIMAL}[apps.headers]\n{name} = "login"\n', name, f'the header "{name}" is set by the gateway already')


def test_two_headers_that_servers_take_for_one(tmp_path: Path) -> None:
    text = f'{MINIMAL}[apps.headers]\nX-Remote-User = "login"\nx-remoteuser = "name"\n'
    check(tmp_path, text, "x-remoteuser", '"x-remoteuser" and "X-Remote-User" are the same header to many servers')


@pytest.mark.parametrize("name", ["X_Remote_User", '"X.User"', '"X User"', '"X:"', '""', '"1X"'])
def test_a_header_name_that_servers_read_differently(tmp_path: Path, name: str) -> None:
    check(tmp_path, f'{MINIMAL}[apps.headers]\n{name} = "login"\n', name, "`apps[1].headers")


def test_an_unknown_fact(tmp_path: Path) -> None:
    text = f'{MINIMAL}[apps.headers]\nX-Remote-User = "logn"\n'
    check(tmp_path, text, "X-Remote-User", "`apps[1].headers.X-Remote-User` should be")
    assert told(tmp_path, text)[0].endswith("Did you mean `login`?")


@pytest.mark.parametrize("upstream", ["https://portal.hospital.example", "https://ehr.hospital.example"])
def test_an_upstream_that_is_the_gateway(tmp_path: Path, upstream: str) -> None:
    check(tmp_path, MINIMAL.replace("http://127.0.0.1:9001", upstream), "upstream", 'the upstream of "ehr" is the gateway itself')


def test_an_upstream_that_is_the_gateway_on_every_interface(tmp_path: Path) -> None:
    text = MINIMAL.replace("public_port = 443", 'port = 8443\nhost = "0.0.0.0"').replace("127.0.0.1:9001", "localhost:8443")
    check(tmp_path, text, "upstream", 'the upstream of "ehr" is the gateway itself')


@pytest.mark.parametrize("further", ['"http://127.0.0.1:9001"', '"http://127.0.0.1:9002", "http://127.0.0.1:9002"'])
def test_an_instance_that_is_there_twice(tmp_path: Path, further: str) -> None:
    text = MINIMAL.replace('upstream = "http://127.0.0.1:9001"', f'upstream = "http://127.0.0.1:9001"\nupstreams = [{further}]')
    check(tmp_path, text, "upstreams", 'an instance of "ehr" is there twice')


@pytest.mark.parametrize("path", ["health", "/a/../b", "/a b", ""])
def test_a_health_path_that_is_none(tmp_path: Path, path: str) -> None:
    check(tmp_path, f'{MINIMAL}[apps.health]\npath = "{path}"\n', "path", f'"{path}" is no path to ask for')


# ---------------------------------------------------------------- identity


def test_an_embedded_provider(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path, EMBEDDED), {})
    assert config.idp is not None
    assert config.idp.data_dir == tmp_path / "idp"
    assert config.idp_host() == "id.hospital.example"
    assert load_config(write_config(tmp_path), {}).idp_host() is None


def test_embedded_without_its_section(tmp_path: Path) -> None:
    check(
        tmp_path,
        EMBEDDED.replace('[idp]\ndata_dir = "idp"\n', ""),
        "embedded",
        "the identity provider is embedded, but there is no [idp]",
    )


def test_a_section_without_embedded(tmp_path: Path) -> None:
    check(
        tmp_path,
        EMBEDDED.replace("embedded = true\n", ""),
        "[idp]",
        "there is an [idp] section, but the identity provider is not embedded",
    )


@pytest.mark.parametrize(
    "issuer", ["https://id.hospital.example/realm", "https://id.hospital.example:8443", "https://id.hospital.example/"]
)
def test_an_embedded_issuer_that_is_not_our_origin(tmp_path: Path, issuer: str) -> None:
    text = EMBEDDED.replace("https://id.hospital.example", issuer)
    check(
        tmp_path,
        text,
        "issuer",
        f'the issuer "{issuer}" is not an origin that this server is seen under. Write "https://id.hospital.example"',
    )


def test_a_short_client_secret_of_the_embedded_provider(tmp_path: Path) -> None:
    text = EMBEDDED.replace('"client-secret"', '"short"')
    check(tmp_path, text, "client_secret_file", "the client secret is shorter than 32 characters")


def test_a_simulated_verifier_outside_the_demo(tmp_path: Path) -> None:
    text = EMBEDDED.replace('data_dir = "idp"', 'data_dir = "idp"\nproofing = "simulated"')
    check(tmp_path, text, "proofing", "a simulated verifier proves nothing about anybody")
    accepted(tmp_path, f"demo = true\n{text}")


@pytest.mark.parametrize("verifier", ["digital-agency", "platform-operator", "jpki", "in-person"])
def test_a_verifier_without_its_section(tmp_path: Path, verifier: str) -> None:
    text = EMBEDDED.replace('data_dir = "idp"', f'data_dir = "idp"\nproofing = "{verifier}"')
    section = verifier.replace("-", "_")
    check(tmp_path, text, "proofing", f'proofing is "{verifier}", but there is no [idp.{section}] section')


@pytest.mark.parametrize("verifier", ["none", "in-person"])
def test_a_rehearsal_is_for_a_service(tmp_path: Path, verifier: str) -> None:
    section = '\n[idp.in_person]\nplace_ja = "総務課"\nplace_en = "Personnel"\n'
    text = EMBEDDED.replace('data_dir = "idp"', f'data_dir = "idp"\nproofing = "{verifier}"\nrehearsal = true') + section
    check(tmp_path, text, "rehearsal", f'proofing = "{verifier}" has no test environment that could be rehearsed with')


def test_a_stand_in_says_where_it_is(tmp_path: Path) -> None:
    private(tmp_path / "agency.pem", "-----BEGIN X-----\n")
    section = '\n[idp.digital_agency]\nenvironment = "stand-in"\nclient_id = "RP1"\nkey_file = "agency.pem"\n'
    what = 'a stand-in has `environment = "stand-in"` and a `stand_in_url`'
    check(tmp_path, EMBEDDED + section, "environment", what)
    url = 'stand_in_url = "http://127.0.0.1:9400/api/realms/main"\n'
    check(tmp_path, EMBEDDED + section.replace("stand-in", "sandbox") + url, "environment", what)


def test_revocation_is_looked_up_in_one_way(tmp_path: Path) -> None:
    private(tmp_path / "root.cer", "x")
    section = '\n[idp.jpki]\nverifier = "V"\ninstitution = "H"\nroots = [{ file = "root.cer", sha256 = "00" }]\n'
    what = "revocation is looked up in lists or at a responder"
    check(tmp_path, EMBEDDED + section, "[idp.jpki]", what)
    (tmp_path / "crl").mkdir()
    check(tmp_path, EMBEDDED + section + 'crl_folder = "crl"\nocsp_url = "http://ocsp.example"\n', "[idp.jpki]", what)
    accepted(tmp_path, EMBEDDED + section + 'crl_folder = "crl"\n')


def test_a_provider_without_tls_on_this_machine(tmp_path: Path) -> None:
    accepted(tmp_path, MINIMAL.replace("https://id.other.example", "http://id.localhost:9000"))
    accepted(tmp_path, MINIMAL.replace("https://id.other.example", "http://127.0.0.1:9000"))


# ---------------------------------------------------------------- sessions, forward-auth, zones


@pytest.mark.parametrize(
    ("section", "key", "what"),
    [
        (f'backend = "redis"\n{SEAL}', "backend", 'the backend "redis" needs a URL. Add redis_url_file'),
        (
            'backend = "redis"\nredis_url_file = "redis-url"',
            "backend",
            'the backend "redis" needs a key that sessions are encrypted with.',
        ),
        ('seal_key_file = "short"', "seal_key_file", "the key of the sessions is shorter than 32 characters. Make one with: "),
        ('redis_url_file = "redis-url"', "redis_url_file", 'a Redis URL is given, but the backend is "memory"'),
        (f'backend = "redis"\nredis_url_file = "short"\n{SEAL}', "redis_url_file", "the Redis URL has no form that is known"),
        ("idle_seconds = 901\nabsolute_seconds = 900", "absolute_seconds", "a session would end before it could be idle"),
    ],
)
def test_sessions_that_can_not_be(tmp_path: Path, section: str, key: str, what: str) -> None:
    check(tmp_path, f"{MINIMAL}[sessions]\n{section}\n", key, what)


def test_several_workers_need_their_sessions_in_redis(tmp_path: Path) -> None:
    text = MINIMAL.replace("[server]\n", "[server]\nworkers = 2\n")
    check(tmp_path / "memory", text, "workers", "each of several workers would know other sessions: ")
    private(tmp_path / "redis-url", "unix:///run/redis.sock")
    accepted(tmp_path, f'{text}[sessions]\nbackend = "redis"\nredis_url_file = "redis-url"\n{SEAL}\n')


@pytest.mark.parametrize(("key", "value"), [("workers", 0), ("workers", 25), ("drain_seconds", -1), ("drain_seconds", 3601)])
def test_how_many_workers_and_how_long_they_may_take(tmp_path: Path, key: str, value: int) -> None:
    text = MINIMAL.replace("[server]\n", f"[server]\n{key} = {value}\n")
    [found] = told(tmp_path, text)
    assert found.startswith("2: ")
    assert key in found


def test_sessions_in_redis(tmp_path: Path) -> None:
    private(tmp_path / "redis-url", "unix:///run/redis.sock")
    accepted(tmp_path, f'{MINIMAL}[sessions]\nbackend = "redis"\nredis_url_file = "redis-url"\n{SEAL}\n')


@pytest.mark.parametrize(
    ("url", "more", "key", "what"),
    [
        (
            "postgresql://u:hunter2@h/x",
            'database = "policies.sqlite3"',
            "postgres_url_file",
            "policies would be kept in two databases",
        ),
        ("mysql://u:hunter2@h/x", "", "postgres_url_file", "the PostgreSQL URL has no form that is known"),
        ("", 'database = "devices.sqlite3"', "database", "it is the database of the devices"),
    ],
)
def test_where_policies_are_kept(tmp_path: Path, url: str, more: str, key: str, what: str) -> None:
    if url:
        private(tmp_path / "postgres-url", url)
        more += '\npostgres_url_file = "postgres-url"'
    text = MINIMAL.replace('dir = "policies"', f'dir = "policies"\n{more}')
    check(tmp_path, text, key, what)
    assert "hunter2" not in "".join(told(tmp_path, text))


def test_policies_in_a_database(tmp_path: Path) -> None:
    private(tmp_path / "postgres-url", "postgresql://u:hunter2@h/x")
    accepted(tmp_path, MINIMAL.replace('dir = "policies"', 'dir = "policies"\ndatabase = "policies.sqlite3"'))
    accepted(tmp_path, MINIMAL.replace('dir = "policies"', 'dir = "policies"\npostgres_url_file = "postgres-url"'))


@pytest.mark.parametrize(
    ("zones", "key", "what"),
    [
        ('other = ["10.0.0.0/8"]', "other", '"other" means every address that is in no zone'),
        ('a = ["10.0.0.0/8"]\nb = ["10.0.0.0/8"]', "b", '"10.0.0.0/8" is in zone "a" already'),
        ('a = ["10.0.0.0/8", "10.0.0.0/8"]', "a", '"10.0.0.0/8" is in zone "a" already'),
        ('a = ["10.0.0.1/8"]', "a", '`network.zones.a[1]` "10.0.0.1/8" has address bits beyond its prefix'),
        ('A = ["10.0.0.0/8"]', "A", "`network.zones.A` should be a short name in lower case"),
        ('a = "10.0.0.0/8"', "a", "`network.zones.a` should be a list"),
    ],
)
def test_zones_that_can_not_be(tmp_path: Path, zones: str, key: str, what: str) -> None:
    check(tmp_path, f"{MINIMAL}[network.zones]\n{zones}\n", key, what)


def test_nested_zones(tmp_path: Path) -> None:
    config = load_config(
        write_config(tmp_path, f'{MINIMAL}[network.zones]\nall = ["10.0.0.0/8"]\nward = ["10.1.0.0/16", "fd00::/8"]\n'), {}
    )
    assert dict(config.network.zones) == {"all": ("10.0.0.0/8",), "ward": ("10.1.0.0/16", "fd00::/8")}


@pytest.mark.parametrize(
    ("key", "value"), [("key_file", "audit/key.pem"), ("anchor", "audit/anchor"), ("anchor", "x/../audit/a/b")]
)
def test_what_protects_the_log_lies_in_the_log(tmp_path: Path, key: str, value: str) -> None:
    line = f'{key} = "{value}"'
    text = MINIMAL.replace('key_file = "audit.pem"', line if key == "key_file" else f'key_file = "audit.pem"\n{line}')
    check(tmp_path, text, key, f"{tmp_path}/audit/")
    assert told(tmp_path, text)[0].endswith("lies in the log's own folder. Who can change the log could change it too: move it.")


def test_rules_report_together(tmp_path: Path) -> None:
    assert len(told(tmp_path, MINIMAL + route("imaging.x", methods="[]") + '[sessions]\nbackend = "redis"\n')) == 4
