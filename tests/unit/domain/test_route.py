import msgspec
import pytest

from gateway.domain.reason import RefuseReason
from gateway.domain.route import App, HealthCheck, Match, Route, RouteTable, _Node
from gateway.kernel.errors import ConfigError


def route(name: str, path: str, *methods: str, app: str = "ehr", **more: object) -> Route:
    fields = {
        "id": f"{app}.{name}",
        "app": app,
        "methods": methods or ("GET",),
        "pattern": tuple(path[1:].split("/")),
        "action": "read",
    }
    return msgspec.convert({**fields, **more}, Route)


def app(*routes: Route, name: str = "ehr", host: str = "ehr.localhost", upstream: str = "http://127.0.0.1:1") -> App:
    return App(id=name, host=host, upstream=upstream, title_ja="", title_en="", routes=routes)


TABLE = RouteTable(
    [
        app(
            route("home", "/"),
            route("list", "/patients"),
            route("new", "/patients/new"),
            route("chart", "/patients/{patient}", patient="patient"),
            route("chart_write", "/patients/{patient}", "PUT", "DELETE"),
            route("vitals", "/patients/{patient}/vitals", websocket=True),
            route("search", "/search", patient="query:pid"),
            route("static", "/static/**"),
            route("any", "/any", "*"),
            route("folder", "/folder/"),
            route("matrix", "/matrix/{x}", allow_parameters=True),
            route("wild", "/{tenant}/info"),
        ),
        app(route("all", "/**", "*", app="img"), name="img", host="img.localhost"),
    ]
)


def find(path: str, method: str = "GET", host: str = "ehr.localhost", query: str = "", *, websocket: bool = False) -> str:
    found = TABLE.match(host, tuple(path[1:].split("/")), method, query=query, websocket=websocket)
    return found.route.id if isinstance(found, Match) else str(found)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "ehr.home"),
        ("/patients", "ehr.list"),
        ("/patients/new", "ehr.new"),
        ("/patients/p1", "ehr.chart"),
        ("/patients/", "no_route"),
        ("/patients/p1/vitals", "ehr.vitals"),
        ("/static/a", "ehr.static"),
        ("/static/a/b/", "ehr.static"),
        ("/static/", "ehr.static"),
        ("/static", "no_route"),
        ("/folder/", "ehr.folder"),
        ("/folder", "no_route"),
        ("/x/info", "ehr.wild"),
        ("//info", "no_route"),
        ("/nowhere", "no_route"),
    ],
)
def test_the_first_match_wins(path: str, expected: str) -> None:
    assert find(path) == expected


def test_methods() -> None:
    assert find("/patients/p1", "PUT") == "ehr.chart_write"
    assert find("/patients/p1", "POST") == "method"
    assert find("/patients/p1", "HEAD") == "ehr.chart"
    assert find("/any", "PROPFIND") == "ehr.any"
    assert find("/nowhere", "POST") == "no_route"


def test_hosts() -> None:
    assert find("/", host="img.localhost") == "img.all"
    assert find("/a/b", "POST", host="img.localhost") == "img.all"
    assert find("/", host="other.localhost") == "host_unknown"


def test_places_and_patient() -> None:
    found = TABLE.match("ehr.localhost", ("patients", "患者1"), "GET")
    assert isinstance(found, Match)
    assert (found.places, found.patient) == ({"patient": "患者1"}, "患者1")


@pytest.mark.parametrize(
    ("query", "patient"),
    [
        ("pid=p1", "p1"),
        ("x=1&pid=%E6%82%A3+1", "患 1"),
        ("", ""),
        ("x=1", ""),
        ("pid", ""),
        ("%70id=p2", "p2"),
        ("pid=a%26pid=b", "a&pid=b"),
    ],
)
def test_the_patient_in_the_query(query: str, patient: str) -> None:
    found = TABLE.match("ehr.localhost", ("search",), "GET", query=query)
    assert isinstance(found, Match)
    assert found.patient == patient


@pytest.mark.parametrize("query", ["pid=1&pid=2", "pid=1&PID=2", "pid=1;pid=2", "pid=1&p%69d=2", "pid=%8E%52", "pid=%ff"])
def test_a_patient_that_two_readers_could_take_differently(query: str) -> None:
    assert find("/search", query=query) == "target_encoding"


def test_parameters() -> None:
    assert find("/patients/p1;v=1") == "target_parameters"
    assert find("/patients;v=1/p1") == "no_route"
    assert find("/matrix;a/x") == "no_route"
    found = TABLE.match("ehr.localhost", ("matrix", "m;v=1"), "GET")
    assert isinstance(found, Match)
    assert found.places == {"x": "m"}


@pytest.mark.parametrize(
    "path", ["/patients/NEW", "/patients/new.", "/patients/new%20".replace("%20", " "), "/patients/ｎｅｗ", "/patients/new/"]
)
def test_a_path_that_looks_like_an_earlier_route(path: str) -> None:
    assert find(path) == "no_route"


def test_websockets_only_where_allowed() -> None:
    assert find("/patients/p1/vitals", websocket=True) == "ehr.vitals"
    assert find("/patients/p1", websocket=True) == "upgrade"


def test_very_many_routes_cost_nothing_to_the_others() -> None:
    table = RouteTable([app(*(route(f"r{n}", f"/api/v1/area{n}/{{x}}") for n in range(2_000)))])
    looked: list[str] = []

    class Counted(dict[str, _Node]):
        def get(self, key: str, default: object = None) -> _Node | None:  # type: ignore[override]  # as it is used
            looked.append(key)
            return super().get(key)

    def count(node: _Node) -> None:
        for below in (*node.literals.values(), *([node.place] if node.place else [])):
            count(below)
        node.literals = Counted(node.literals)

    count(table._hosts["ehr.localhost"]._exact._root)
    match = table.match("ehr.localhost", ("api", "v1", "area1999", "p1"), "GET")
    assert isinstance(match, Match)
    assert match.route.id == "ehr.r1999"
    assert looked == ["api", "v1", "area1999", "p1"]


@pytest.mark.parametrize(
    ("routes", "message"),
    [
        ([], "no route"),
        ([route("a", "/a"), route("a", "/b")], "route id .* twice"),
        ([route("a", "/a"), route("b", "/a")], "never reached"),
        ([route("a", "/{x}"), route("b", "/b")], "never reached"),
        ([route("a", "/**", "*"), route("b", "/b")], "never reached"),
        ([route("a", "/a/**"), route("b", "/a/{x}/c")], "never reached"),
        ([route("a", "/a/**"), route("b", "/a/")], "never reached"),
        ([route("a", "/**/b")], "no request can match"),
        ([route("a", "/a//b")], "no request can match"),
        ([route("a", "/../b")], "no request can match"),
        ([route("a", "/a{x}")], "no request can match"),
        ([route("a", "/a*")], "no request can match"),
        ([route("a", "/a%20b")], "no request can match"),
        ([route("a", "/{x}/{x}")], "twice"),
        ([route("a", "/.gateway/x")], "gateway's"),
        ([route("a", "/a", "get")], "no method"),
        ([route("a", "/a", "*", "GET")], "beside others"),
        ([route("a", "/a", patient="p")], "no place"),
        ([route("a", "/a", app="other")], "stands in"),
    ],
)
def test_a_configuration_that_is_ambiguous_does_not_start(routes: list[Route], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RouteTable([app(*routes)])


@pytest.mark.parametrize(
    "routes",
    [
        [route("a", "/a", "GET"), route("b", "/a", "POST")],
        [route("a", "/a"), route("b", "/{x}")],
        [route("a", "/a/{x}"), route("b", "/a/")],
        [route("a", "/a"), route("b", "/**", "*")],
    ],
)
def test_overlap_in_order_is_no_ambiguity(routes: list[Route]) -> None:
    assert RouteTable([app(*routes)]).hosts == {"ehr.localhost"}


@pytest.mark.parametrize(
    "second",
    [
        app(route("x", "/", app="two"), name="ehr", host="two.localhost"),
        app(route("x", "/", app="two"), name="two", host="ehr.localhost"),
        app(route("x", "/", app="two"), name="two", host="Two.localhost"),
        app(route("x", "/", app="two"), name="two", host="two.localhost:80"),
        app(route("x", "/", app="two"), name="two", host="two.localhost", upstream="http://127.0.0.1:1/path"),
        app(route("x", "/", app="two"), name="two", host="two.localhost", upstream="ftp://127.0.0.1"),
    ],
)
def test_two_apps_that_can_not_be_told_apart(second: App) -> None:
    with pytest.raises(ConfigError):
        RouteTable([app(route("home", "/")), second])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"upstreams": ("http://127.0.0.1:1",)}, "there twice"),
        ({"upstreams": ("http://127.0.0.1:2/path",)}, "scheme, host and port"),
        ({"health": HealthCheck(path="health")}, "canonical path"),
        ({"health": HealthCheck(path="/a/../b")}, "canonical path"),
    ],
)
def test_instances_and_checks_that_can_not_be(more: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RouteTable([msgspec.structs.replace(app(route("x", "/")), **more)])


def test_a_refusal_is_a_reason() -> None:
    assert TABLE.match("x", ("",), "GET") is RefuseReason.HOST_UNKNOWN
