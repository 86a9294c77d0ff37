"""The generator of Envoy's configuration: routes and header names as the gateway reads them."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import load_config
from gateway.domain.connection import Connection
from gateway.domain.headers import CLAIM_PREFIXES, CLAIMS, strip_client
from gateway.domain.reason import RefuseReason
from gateway.domain.request import RawRequest, Request, parse_request
from gateway.domain.route import App, Route, RouteTable
from gateway.frontconf.envoy import Options, render
from gateway.frontconf.envoy_routes import path_regex
from gateway.kernel.errors import ConfigError
from tests.support.configuration import CLIENT_SECRET, MINIMAL, private, write_config

ROOT = Path(__file__).parents[3]
DOOR = """
[[doors]]
kind = "envoy-http"
socket = "door.sock"
trusted_uids = [33]
tells_tls = true
certificate_field = "x-forwarded-tls-client-cert"
"""
TELLS = ', tells_tls = true, certificate_field = "x-forwarded-tls-client-cert"'


def made(folder: Path, *change: str, section: str = DOOR, text: str = MINIMAL, **options: Any) -> dict[str, Any]:
    text = text.replace("trusted_uids = [33]", f"trusted_uids = [33]{TELLS}") + section
    if change:
        assert change[0] in text
        text = text.replace(change[0], change[1])
    made: dict[str, Any] = json.loads(render(load_config(write_config(folder, text), {}), Options(**options)))
    return made


def manager(bootstrap: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return found


# ---- what gateway.toml must have


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (("public_port = 443", 'public_port = 443\npublic_scheme = "http"'), {}, "speak TLS"),
        ((DOOR, ""), {}, 'no door of kind "envoy-http"'),
        ((), {"door": "grpc"}, 'no door of kind "envoy-grpc"'),
        ((TELLS, ""), {}, "what Envoy says of TLS would not count"),
        (("tells_tls = true\n", ""), {}, "what Envoy says of TLS would not count"),
        (("certificate_field = ", "# "), {"client_ca": "/ca.pem"}, "device certificates would not count"),
        (('"x-forwarded-tls-client-cert"\n', '"client-cert"\n'), {"client_ca": "/ca.pem"}, "device certificates would not count"),
    ],
)
def test_what_envoy_could_not_work_with(tmp_path: Path, change: tuple[str, ...], options: dict[str, str], said: str) -> None:
    if change[:1] == ("certificate_field = ",):
        change = ('certificate_field = "x-forwarded-tls-client-cert"\n', "")
    with pytest.raises(ConfigError, match=said):
        made(tmp_path, *change, **options)


def test_an_address_needs_a_certificate_to_show(tmp_path: Path) -> None:
    for name in ("a.pem", "ca.pem"):
        private(tmp_path / name, "-----BEGIN X-----\n")
    door = DOOR.replace('socket = "door.sock"\ntrusted_uids = [33]', 'host = "10.0.0.5"\nport = 9443\ncertificate_file = "a.pem"')
    door += 'key_file = "a.pem"\nclient_ca_file = "ca.pem"\nclient_names = ["envoy.hospital.example"]\n'
    with pytest.raises(ConfigError, match="Envoy has to show a certificate"):
        made(tmp_path, section=door)
    proof = {"front_certificate": "/f.pem", "front_key": "/f.key", "front_ca": "/c.pem"}
    cluster = made(tmp_path, section=door, **proof)["static_resources"]["clusters"][1]
    tls = cluster["transport_socket"]["typed_config"]["common_tls_context"]
    assert tls["validation_context"]["trusted_ca"] == {"filename": "/c.pem"}
    assert tls["validation_context"]["match_typed_subject_alt_names"][0]["matcher"] == {"exact": "10.0.0.5"}
    assert tls["tls_certificates"][0]["private_key"] == {"filename": "/f.key"}


# ---- what it says


def test_closed_unnormalised_and_without_an_interface(tmp_path: Path) -> None:
    bootstrap = made(tmp_path)
    settings = manager(bootstrap)
    ask = next(found for found in settings["http_filters"] if found["name"] == "envoy.filters.http.ext_authz")["typed_config"]
    assert ask["failure_mode_allow"] is False
    assert "with_request_body" not in ask
    assert settings["normalize_path"] is settings["merge_slashes"] is False
    assert settings["path_with_escaped_slashes_action"] == "KEEP_UNCHANGED"
    assert "admin" not in bootstrap
    assert settings["http_filters"][-1]["name"] == "envoy.filters.http.router"


@pytest.mark.parametrize("client_ca", ["", "/device-ca.pem"])
def test_one_chain_asks_for_certificates_or_none(tmp_path: Path, client_ca: str) -> None:
    (chain,) = made(tmp_path, client_ca=client_ca)["static_resources"]["listeners"][0]["filter_chains"]
    assert "filter_chain_match" not in chain
    tls = chain["transport_socket"]["typed_config"]
    assert tls["require_client_certificate"] is False
    assert ("validation_context" in tls["common_tls_context"]) is bool(client_ca)


@pytest.mark.parametrize(("preset", "lowest"), [("high", "TLSv1_3"), ("compatible", "TLSv1_2")])
def test_presets_and_stapling(tmp_path: Path, preset: str, lowest: str) -> None:
    chain = made(tmp_path, preset=preset, ocsp_response="/ocsp.der")["static_resources"]["listeners"][0]["filter_chains"][0]
    tls = chain["transport_socket"]["typed_config"]
    parameters = tls["common_tls_context"]["tls_params"]
    assert (parameters["tls_minimum_protocol_version"], parameters["tls_maximum_protocol_version"]) == (lowest, "TLSv1_3")
    assert ("cipher_suites" in parameters) is (preset == "compatible")
    assert all("ECDHE" in suite for suite in parameters.get("cipher_suites", ()))
    assert tls["common_tls_context"]["tls_certificates"][0]["ocsp_staple"] == {"filename": "/ocsp.der"}
    assert tls["ocsp_staple_policy"] == "LENIENT_STAPLING"


def test_https_applications_are_verified_by_name(tmp_path: Path) -> None:
    changed = made(tmp_path, '"http://127.0.0.1:9001"', '"https://ehr.internal:8443"', app_ca="/ca.pem")
    cluster = next(found for found in changed["static_resources"]["clusters"] if found["name"] == "app.ehr")
    tls = cluster["transport_socket"]["typed_config"]
    assert (cluster["type"], tls["sni"]) == ("STRICT_DNS", "ehr.internal")
    trusted = tls["common_tls_context"]["validation_context"]
    assert trusted["trusted_ca"] == {"filename": "/ca.pem"}
    assert trusted["match_typed_subject_alt_names"] == [{"san_type": "DNS", "matcher": {"exact": "ehr.internal"}}]


# ---- instances and limits

ONE = 'upstream = "http://127.0.0.1:9001"'


def cluster(bootstrap: dict[str, Any]) -> dict[str, Any]:
    return next(found for found in bootstrap["static_resources"]["clusters"] if found["name"] == "app.ehr")


def endpoints(bootstrap: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cluster(bootstrap)["load_assignment"]["endpoints"][0]["lb_endpoints"]
    return found


def action(bootstrap: dict[str, Any]) -> dict[str, Any]:
    hosts = manager(bootstrap)["route_config"]["virtual_hosts"]
    route = next(route for host in hosts for route in host["routes"] if route["name"] == "ehr.home")
    found: dict[str, Any] = route["route"]
    return found


def test_several_instances_and_their_health(tmp_path: Path) -> None:
    health = 'health = { path = "/up", interval_seconds = 7, unhealthy_after = 3, healthy_after = 4 }'
    bootstrap = made(tmp_path, ONE, f'{ONE}\nupstreams = ["http://[fd00::1]:81", "http://10.0.0.2"]\n{health}')
    places = [found["endpoint"]["address"]["socket_address"] for found in endpoints(bootstrap)]
    assert [(place["address"], place["port_value"]) for place in places] == [
        ("127.0.0.1", 9001),
        ("fd00::1", 81),
        ("10.0.0.2", 80),
    ]
    several = cluster(bootstrap)
    assert (several["type"], "transport_socket" in several) == ("STATIC", False)
    (check,) = several["health_checks"]
    assert check["timeout"] == check["interval"] == check["no_traffic_interval"] == "7s"
    assert (check["unhealthy_threshold"], check["healthy_threshold"]) == (3, 4)
    asked = check["http_health_check"]
    assert (asked["host"], asked["path"]) == ("ehr.hospital.example", "/up")
    assert asked["expected_statuses"] == [{"start": 200, "end": 300}]
    assert several["common_lb_config"]["healthy_panic_threshold"] == {"value": 0}
    # All but one can be left alone: two of three are 66.7 %.
    assert several["outlier_detection"]["max_ejection_percent"] == 67


def test_one_instance_is_never_left_alone_and_nothing_is_sent_twice(tmp_path: Path) -> None:
    bootstrap = made(tmp_path)
    assert not {"outlier_detection", "health_checks"} & set(cluster(bootstrap))
    assert cluster(bootstrap)["circuit_breakers"]["thresholds"][0]["max_retries"] == 0
    assert "retry_on" not in action(bootstrap)["retry_policy"]


def test_only_what_was_not_sent_and_is_no_write_goes_to_another_instance(tmp_path: Path) -> None:
    policy = action(made(tmp_path, ONE, f'{ONE}\nupstreams = ["http://10.0.0.2"]'))["retry_policy"]
    assert (policy["retry_on"], policy["num_retries"]) == ("connect-failure,reset-before-request", 1)
    (condition,) = policy["retriable_request_headers"]
    methods = re.compile(condition["string_match"]["safe_regex"]["regex"])
    assert condition["name"] == ":method"
    assert [name for name in ("GET", "HEAD", "OPTIONS") if not methods.fullmatch(name)] == []
    assert [name for name in ("POST", "PUT", "PATCH", "DELETE", "GETX") if methods.fullmatch(name)] == []
    writes = f'{ONE}\nupstreams = ["http://10.0.0.2"]'
    text = MINIMAL.replace('methods = ["GET"]', 'methods = ["POST"]')
    assert "retry_on" not in action(made(tmp_path, ONE, writes, text=text))["retry_policy"]


def test_each_instance_proves_its_own_name(tmp_path: Path) -> None:
    more = 'upstream = "https://a.internal"\nupstreams = ["https://[FD00:0::1]:8443", "http://127.0.0.1:81", "https://a.internal:444"]'
    bootstrap = made(tmp_path, ONE, more.replace("FD00", "fd00"), app_ca="/ca.pem")
    names = [found["metadata"]["filter_metadata"]["envoy.transport_socket_match"]["as"] for found in endpoints(bootstrap)]
    assert names == ["a.internal", "fd00:0::1", "", "a.internal"]
    matches = {found["match"]["as"]: found["transport_socket"] for found in cluster(bootstrap)["transport_socket_matches"]}
    assert matches.keys() == set(names)
    assert matches[""]["name"] == "envoy.transport_sockets.raw_buffer"
    said = [
        (tls.get("sni"), tls["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"])
        for tls in (matches[name]["typed_config"] for name in ("a.internal", "fd00:0::1"))
    ]
    assert said == [
        ("a.internal", [{"san_type": "DNS", "matcher": {"exact": "a.internal"}}]),
        (None, [{"san_type": "IP_ADDRESS", "matcher": {"exact": "fd00::1"}}]),
    ]


def test_limits_of_a_route(tmp_path: Path) -> None:
    usual = action(made(tmp_path / "usual"))
    assert (usual["timeout"], usual["idle_timeout"], usual["retry_policy"]["per_try_timeout"]) == ("0s", "300s", "120s")
    assert "max_stream_duration" not in usual
    home = 'id = "ehr.home"'
    own = action(made(tmp_path / "own", home, f"{home}\nidle_seconds = 600\ntotal_seconds = 3600"))
    assert (own["timeout"], own["idle_timeout"]) == ("0s", "600s")
    assert own["retry_policy"]["per_try_timeout"] == "600s"
    assert own["max_stream_duration"] == {"max_stream_duration": "3600s"}


# ---- where it listens


@pytest.mark.parametrize(
    ("addresses", "listens"),
    [
        ("10.0.0.1", [("10.0.0.1", False)]),
        ("[::]", [("::", True)]),
        ("::", [("::", True)]),
        ("10.0.0.1 [::]", [("10.0.0.1", False), ("::", False)]),
        ("[fd00::1] 10.0.0.1", [("fd00::1", False), ("10.0.0.1", False)]),
    ],
)
def test_addresses_to_listen_on(tmp_path: Path, addresses: str, listens: list[tuple[str, bool]]) -> None:
    for listener in made(tmp_path, address=addresses, redirect_port=80)["static_resources"]["listeners"]:
        places = [listener["address"], *(other["address"] for other in listener.get("additional_addresses", ()))]
        said = [place["socket_address"] for place in places]
        assert [(place["address"], place.get("ipv4_compat", False)) for place in said] == listens


@pytest.mark.parametrize("addresses", ["", "everywhere", "10.0.0.1 [::"])
def test_what_is_no_address_to_listen_on(tmp_path: Path, addresses: str) -> None:
    with pytest.raises(ConfigError, match="is no address to listen on"):
        made(tmp_path, address=addresses)


# ---- the example in deploy/envoy


def example(folder: Path) -> Path:
    """deploy/gateway.toml with the door of deploy/envoy/README.md in the place of nginx's."""
    for name in ("keys/assertion.pem", "keys/audit.pem"):
        private(folder / name, "-----BEGIN X-----\n")
    for name in ("tls/server.pem", "tls/server.key", "tls/device-ca.pem"):
        private(folder / name, "-----BEGIN X-----\n")
    for name in ("oidc-client", "seal-key"):
        private(folder / "secrets" / name, CLIENT_SECRET)
    private(folder / "secrets" / "redis-url", "rediss://:password@redis.hospital.example:6379/0")
    (folder / "policies").mkdir()
    readme = (ROOT / "deploy" / "envoy" / "README.md").read_text("utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    front, door = (next(block for block in blocks if name in block) for name in ("[server.front]", "[[doors]]"))
    text = (ROOT / "deploy" / "gateway.toml").read_text("utf-8")
    for header, block in (("[server.front]", front), ("[[doors]]", door)):
        # A section ends where a line is empty.
        old = re.search(rf"^{re.escape(header)}\n(?:.+\n)+", text, re.MULTILINE)
        assert old is not None
        text = text.replace(old[0], block)
    path = folder / "gateway.toml"
    path.write_text(text, "utf-8")
    return path


def test_the_example_is_what_the_generator_makes(tmp_path: Path) -> None:
    options = Options(client_ca="/etc/envoy/tls/device-ca.pem", redirect_port=80)
    text = render(load_config(example(tmp_path), {}), options).replace(str(tmp_path), "/etc/gateway")
    assert text == (ROOT / "deploy" / "envoy" / "envoy.json").read_text("utf-8")


# ---- two routers that agree


_SEGMENTS = st.one_of(
    st.sampled_from(["a", "b", "A", "a.b", "ab", "患者", "a b", "a@b", "a+b", "(x)", "x*y", "a$", "é", "~", "a|b", "[1]", "^"]),
    st.sampled_from(["{one}", "{two}"]),
)
_PATTERNS = st.lists(_SEGMENTS, min_size=1, max_size=3).flatmap(
    lambda parts: st.sampled_from([parts, [*parts, "**"], [*parts, ""], ["**"], [""]])
)
_SENT = ["a", "b", "A", "a.b", "患者", "a b", "a@b", "a+b", "(x)", "a$", "é", "~", "x", "a|b", "[1]", "^", ""]
_METHODS = st.sampled_from([("*",), ("GET",), ("POST", "PUT"), ("GET", "DELETE")])


def _spelled(segment: str, choice: int) -> str:
    """One of a segment's canonical spellings."""
    text = quote(segment, safe=("", "!$&'()*+,=:@")[choice % 2])
    return text.lower() if choice & 2 and text == quote(segment, safe="") and segment == segment.lower() else text


def _routes(patterns: list[tuple[list[str], tuple[str, ...]]]) -> tuple[Route, ...]:
    routes: list[Route] = []
    for pattern, methods in patterns:
        names = [part for part in pattern if part.startswith("{")]
        if len(set(names)) < len(names) or (pattern[0] == "" and len(pattern) > 1) or "*" in "".join(pattern).replace("**", ""):
            continue
        routes.append(Route(id=f"ehr.r{len(routes)}", app="ehr", methods=methods, pattern=tuple(pattern), action="read"))
    return tuple(routes)


@given(
    st.lists(st.tuples(_PATTERNS, _METHODS), min_size=1, max_size=5),
    st.lists(st.sampled_from(_SENT), min_size=1, max_size=4),
    st.integers(0, 3),
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"]),
)  # fmt: skip
def test_both_routers_choose_alike_CVE_2023_33189(  # noqa: N802  an id
    patterns: list[tuple[list[str], tuple[str, ...]]], segments: list[str], choice: int, method: str
) -> None:
    """Whatever the gateway's table finds, Envoy's first matching route is the same; where it finds none, Envoy may find one."""
    routes = _routes(patterns)
    try:
        table = RouteTable(
            [App(id="ehr", host="ehr.example", upstream="http://127.0.0.1:1", title_ja="", title_en="", routes=routes)]
        )
    except ConfigError:
        return
    path = "/" + "/".join(_spelled(segment, choice) for segment in segments)
    connection = Connection(peer_address="127.0.0.1")
    request = parse_request(RawRequest(method=method, target=path, headers=(("Host", "ehr.example"),), connection=connection))
    if not isinstance(request, Request):
        return
    found = table.find(request)
    if isinstance(found, RefuseReason):
        return
    chosen = next(
        (route.id for route in routes if re.fullmatch(path_regex(route.pattern), path, re.DOTALL) and _takes(route, method)), ""
    )
    assert chosen == found.route.id


def _takes(route: Route, method: str) -> bool:
    return route.methods == ("*",) or method in route.methods or (method == "HEAD" and "GET" in route.methods)


# ---- the same names are removed


def _removed(tmp_path: Path) -> list[re.Pattern[str]]:
    (extension,) = manager(made(tmp_path))["early_header_mutation_extensions"]
    mutations = extension["typed_config"]["mutations"]
    return [re.compile(found["remove_on_match"]["key_matcher"]["safe_regex"]["regex"]) for found in mutations]


def test_every_spelling_that_the_gateway_removes_envoy_removes(tmp_path: Path) -> None:
    rules = _removed(tmp_path)
    for name in (*CLAIMS, *CLAIM_PREFIXES, *(f"{prefix}-x" for prefix in CLAIM_PREFIXES)):
        lower = name.lower()
        for spelled in (
            lower,
            lower.replace("-", "_"),
            lower.replace("-", "."),
            lower.replace("-", ""),
            f"{lower}-",
            f"-{lower}",
        ):
            assert strip_client(((spelled, "x"),), frozenset()) == ()
            assert any(rule.fullmatch(spelled) for rule in rules), spelled


def test_what_clients_send_stays(tmp_path: Path) -> None:
    rules = _removed(tmp_path)
    names = (
        ":path", ":method", ":authority", ":scheme", "accept", "accept-language", "authorization", "content-type", "cookie",
        "content-length", "origin", "range", "referer", "sec-fetch-mode", "user-agent", "x-requested-with", "x-csrf-token",
        "upgrade", "if-none-match", "sec-websocket-key", "traceparent", "transfer-encoding", "host", "x-use", "x-forward",
        "clientcertificate",
    )  # fmt: skip
    for name in names:
        assert not any(rule.fullmatch(name) for rule in rules), name
