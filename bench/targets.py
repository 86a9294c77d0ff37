"""What is compared with what, what it must reach, and what is known of why it does not. Nothing is measured here."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests a second one row does for each that another does in the same round."""

    name: str
    what: str
    over: str
    under: str
    at_least: float


RATIOS: Final = (
    Ratio(
        name="embedded_vs_naive",
        what="embedded, all checks on / plain aiohttp proxy, no checks",
        over="embedded",
        under="naive",
        at_least=2.0,
    ),
    Ratio(
        name="nginx_door_vs_trivial",
        what="nginx + our decision / nginx + an endpoint that always says 200",
        over="nginx_door",
        under="nginx_trivial",
        at_least=0.8,
    ),
    Ratio(
        name="nginx_lease_vs_plain",
        what="nginx + our decision, 1 s lease / nginx without a check",
        over="nginx_lease",
        under="nginx_plain",
        at_least=0.5,
    ),
    Ratio(
        name="envoy_door_vs_trivial",
        what="Envoy + our decision / Envoy + an endpoint that always says 200",
        over="envoy_door",
        under="envoy_trivial",
        at_least=0.8,
    ),
    Ratio(
        name="nginx_door_vs_oauth2_proxy",
        what="nginx + our decision / nginx + oauth2-proxy, both with Redis",
        over="nginx_door_redis",
        under="nginx_oauth2_proxy",
        at_least=1.0,
    ),
    Ratio(
        name="embedded_vs_oauth2_proxy",
        what="embedded / oauth2-proxy, each the proxy itself, both with Redis",
        over="embedded_redis",
        under="oauth2_proxy",
        at_least=0.7,
    ),
)

RateRow = tuple[str, str]
ROWS: Final[tuple[RateRow, ...]] = (
    ("direct", "the application itself (nginx)"),
    ("naive", "plain aiohttp proxy, no checks"),
    ("embedded", "embedded"),
    ("embedded_synced", "embedded, each record on disk first (sync = true)"),
    ("embedded_many", "embedded, 500 people and 1,000 charts in turn"),
    ("embedded_redis", "embedded, sessions in Redis"),
    ("oauth2_proxy", "oauth2-proxy, sessions in Redis"),
    ("nginx_plain", "nginx, no check"),
    ("nginx_trivial", "nginx + endpoint that always says 200"),
    ("nginx_door", "nginx + our decision"),
    ("nginx_door_redis", "nginx + our decision, sessions in Redis"),
    ("nginx_lease", "nginx + our decision, 1 s lease"),
    ("nginx_lease_many", "nginx + our decision, 1 s lease, 500 people and 1,000 charts"),
    ("nginx_oauth2_proxy", "nginx + oauth2-proxy, sessions in Redis"),
    ("envoy_plain", "Envoy, no check"),
    ("envoy_trivial", "Envoy + endpoint that always says 200 (HTTP)"),
    ("envoy_door", "Envoy + our decision (HTTP)"),
    ("envoy_door_grpc", "Envoy + our decision (gRPC)"),
)
"""Rows of requests a second, in the order of the table."""

Kind = Literal["less", "most"]


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """A number that must stay under a bound."""

    name: str
    what: str
    unit: str
    bound: float
    kind: Kind = "less"
    """`less` than the bound, or at `most` as much."""


LIMITS: Final = (
    Limit(name="added_p50_ms", what="added by embedded at 200 requests/s, p50", unit="ms", bound=2.0),
    Limit(name="added_p99_ms", what="added by embedded at 200 requests/s, p99", unit="ms", bound=6.0),
    Limit(name="cut_p99_ms", what="revocation to cut, 5,000 WebSockets at once, p99", unit="ms", bound=1000.0),
    Limit(name="cut_one_p99_ms", what="revocation to cut, one session of 50 at a time, p99", unit="ms", bound=1000.0),
    Limit(name="websocket_kib", what="memory for each idle WebSocket", unit="KiB", bound=64.0),
    Limit(name="websocket_tls_kib", what="memory for each idle WebSocket, TLS at the gateway itself", unit="KiB", bound=64.0),
    Limit(name="sessions_100k_mib", what="memory of a worker with 100,000 sessions", unit="MiB", bound=400.0),
    Limit(
        name="cached_flat_in_policies",
        what="a remembered answer: slowest / fastest of 10, 100, 1,000 policies",
        unit="",
        bound=1.3,
        kind="most",
    ),
    Limit(
        name="decide_flat_in_routes",
        what="a repeated decision: slowest / fastest of 10, 100, 1,000 routes",
        unit="",
        bound=1.3,
        kind="most",
    ),
    Limit(
        name="route_lookup_flat",
        what="finding the route: slowest / fastest of 10, 100, 1,000 routes",
        unit="",
        bound=1.3,
        kind="most",
    ),
    Limit(
        name="uncached_vs_cedarpy",
        what="an answer that is not remembered / cedarpy's own call, the worst",
        unit="",
        bound=1.3,
        kind="most",
    ),
    Limit(
        name="reload_p99",
        what="p99 with 1,000 policies exchanged meanwhile / without",
        unit="",
        bound=2.0,
        kind="most",
    ),
    Limit(
        name="reload_wrong",
        what="answers that were refused, or given by policies no longer in force, meanwhile",
        unit="",
        bound=0.0,
        kind="most",
    ),
    Limit(name="replay_million_s", what="replay of 1,000,000 decisions and how they ended, two cores", unit="s", bound=30.0),
)

_PYTHON: Final = (
    "a decision is 55 µs of CPU, of them 17 the signature and 11 the two records, and hearing and answering the question costs "
    "about as much again; the endpoint that it is compared with costs 20 to 30 in all (docs/performance.md)"
)
KNOWN: Final[Mapping[str, str]] = {
    "embedded_vs_naive": (
        "the plain proxy takes about 125 µs of CPU, so 62 would do: sockets (15), signature (17) and records (11) leave 19 for "
        "all else, which takes about 55 in Python (docs/performance.md)"
    ),
    "nginx_lease_vs_plain": (
        "it is reached where nginx has a core to itself: a request costs nginx 32 µs instead of 15 (its cache, fields to remove, "
        "a line in its log) and the gateway 7, which takes that line into its own log meanwhile"
    ),
    "nginx_door_vs_trivial": _PYTHON,
    "envoy_door_vs_trivial": _PYTHON,
}
"""Why a target is missed, where that is known: by the name of the ratio or limit."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table of targets."""

    name: str
    what: str
    unit: str
    bound: float
    kind: Literal["least", "less", "most"]
    value: float | None
    """None: not measured."""
    low: float | None = None
    high: float | None = None
    why: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None when nobody measured."""
        if self.value is None:
            return None
        if self.kind == "least":
            return self.value >= self.bound
        return self.value < self.bound if self.kind == "less" else self.value <= self.bound

    @property
    def word(self) -> str:
        """The verdict in the table."""
        return {True: "met", False: "NOT MET", None: "not measured"}[self.met]


def judge_ratios(rates: Mapping[str, Sequence[float]], absent: Mapping[str, str]) -> list[Verdict]:
    """Compare rows round by round: both sides of each quotient ran within seconds of each other.

    `rates` are requests a second by row, the same number of rounds in each; `absent` says why a row is not there.
    """
    verdicts = []
    for ratio in RATIOS:
        missing = [name for name in (ratio.over, ratio.under) if name not in rates]
        value = low = high = None
        if not missing:
            quotients = [over / under for over, under in zip(rates[ratio.over], rates[ratio.under], strict=True)]
            value, low, high = statistics.median(quotients), min(quotients), max(quotients)
        why = (
            "; ".join(dict.fromkeys(absent[name] for name in missing if name in absent)) if missing else KNOWN.get(ratio.name, "")
        )
        verdicts.append(
            Verdict(
                name=ratio.name,
                what=ratio.what,
                unit="",
                bound=ratio.at_least,
                kind="least",
                value=value,
                low=low,
                high=high,
                why=why,
            )
        )
    return verdicts


def judge_limits(values: Mapping[str, Sequence[float]], absent: Mapping[str, str]) -> list[Verdict]:
    """Hold numbers against their bounds: the median where there are several."""
    verdicts = []
    for limit in LIMITS:
        found = values.get(limit.name)
        verdicts.append(
            Verdict(
                name=limit.name,
                what=limit.what,
                unit=limit.unit,
                bound=limit.bound,
                kind=limit.kind,
                value=statistics.median(found) if found else None,
                low=min(found) if found else None,
                high=max(found) if found else None,
                why=KNOWN.get(limit.name, "") if found else absent.get(limit.name, ""),
            )
        )
    return verdicts
