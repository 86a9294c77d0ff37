"""What Envoy does with every request and reply: what it removes, how it asks, and what it says when nobody answers."""

from typing import Final

import msgspec

from gateway.config import Config
from gateway.domain.cookies import OWN_PREFIX
from gateway.domain.headers import CLAIM_PREFIXES, CLAIMS, fold
from gateway.doors.envoy.common import CERTIFICATE_FIELD, PREFIX, ROUTE_FIELD, UNAVAILABLE_AS
from gateway.doors.tls import HSTS
from gateway.frontconf.envoy_pages import NO_ANSWER, NO_APPLICATION, Words, page, script
from gateway.frontconf.envoy_parts import TYPE, Json, setting
from gateway.frontconf.envoy_routes import ASK, RESPONSES
from gateway.pipeline.outgoing import ASSERTION_HEADER, REQUEST_ID_HEADER

FACTS: Final = {
    "x-forwarded-for": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "x-forwarded-proto": "https",
    "x-forwarded-client-port": "%DOWNSTREAM_REMOTE_PORT%",
    "x-forwarded-tls-version": "%DOWNSTREAM_TLS_VERSION%",
    "x-forwarded-tls-server-name": "%REQUESTED_SERVER_NAME%",
    CERTIFICATE_FIELD: "%DOWNSTREAM_PEER_CERT%",
}
"""What the gateway is told of the client (`gateway.doors.said`). Without a value a field is left out."""
_IN_THE_QUESTION: Final = ("x-forwarded-for", "x-forwarded-client-port")
"""What a question over gRPC holds anyway (`source.address`)."""
_BROKEN: Final = ("NetworkAuthenticationRequired", 511)
"""How the filter says that the gateway did not answer, so that it can be told from a 503 of the gateway's own: becomes a 503."""
_OWN_COOKIE: Final = OWN_PREFIX.lower().replace("-", "%-")
_KEEP_COOKIES: Final = f"""\
-- An application may not plant one of the gateway's own cookies.
function envoy_on_response(handle)
  local headers = handle:headers()
  local count = headers:getNumValues("set-cookie")
  if count == 0 then
    return
  end
  local kept = {{}}
  for index = 0, count - 1 do
    local value = headers:getAtIndex("set-cookie", index)
    if not string.find(string.lower(value), "^[%s=]*{_OWN_COOKIE}") then
      kept[#kept + 1] = value
    end
  end
  if #kept < count then
    headers:remove("set-cookie")
    for _, value in ipairs(kept) do
      headers:add("set-cookie", value)
    end
  end
end
"""


# ---------------------------------------------------------------- requests, before anything else


def clean(config: Config) -> Json:
    """Removes what no client may send, whatever comes of the request."""
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {
            "@type": f"{TYPE}.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            "mutations": [
                {"remove_on_match": {"key_matcher": {"safe_regex": {"regex": regex}}}} for regex in (_ODD, _claims(config))
            ],
        },
    }


_ODD: Final = "[^:]*[^a-z0-9:-][^:]*"
"""Names with other characters than letters, digits and "-": no browser sends one, and servers take them for "-" or "_"."""


def _claims(config: Config) -> str:
    names = {*CLAIMS, ASSERTION_HEADER, REQUEST_ID_HEADER, *(name for app in config.apps for name in app.headers)}
    prefixes = sorted({fold(prefix) for prefix in CLAIM_PREFIXES})
    exact = sorted(name for name in map(fold, names) if not name.startswith(tuple(prefixes)))
    return "|".join([*(f"{_spellings(prefix)}.*" for prefix in prefixes), *map(_spellings, exact)])


def _spellings(folded: str) -> str:
    """A name with "-" anywhere in it: what `fold` takes for the same, once odd characters are gone."""
    return "-*" + "".join(f"{character}-*" for character in folded)


# ---------------------------------------------------------------- filters


def replies() -> Json:
    """The outermost filter: what no reply may carry, an application's or Envoy's own."""
    removed: list[Json] = [{"prefix": "x-gateway"}, {"prefix": "x-forwarded"}, {"prefix": "x-envoy-"}, {"exact": "alt-svc"}]
    mutations = [
        *({"remove_on_match": {"key_matcher": matcher}} for matcher in removed),
        {"append": setting(HSTS[0].lower(), HSTS[1])},
    ]
    kind = f"{TYPE}.filters.http.header_mutation.v3.HeaderMutation"
    return {
        "name": "envoy.filters.http.header_mutation",
        "typed_config": {"@type": kind, "mutations": {"response_mutations": mutations}},
    }


def ask(config: Config, *, grpc: bool, seconds: int) -> Json:
    """The question. Without an answer nobody is let in."""
    return {
        "name": ASK,
        "typed_config": {
            "@type": f"{TYPE}.filters.http.ext_authz.v3.ExtAuthz",
            "transport_api_version": "V3",
            **(_over_grpc(seconds) if grpc else _over_http(config, seconds)),
            "encode_raw_headers": True,
            "failure_mode_allow": False,
            "status_on_error": {"code": _BROKEN[0]},
            "clear_route_cache": False,
        },
    }


def _over_grpc(seconds: int) -> Json:
    return {
        "grpc_service": {
            "envoy_grpc": {"cluster_name": "gateway_door", "authority": "gateway"},
            "timeout": f"{seconds}s",
            "initial_metadata": [{"key": name, "value": value} for name, value in FACTS.items() if name not in _IN_THE_QUESTION],
        }
    }


def _over_http(config: Config, seconds: int) -> Json:
    facts = {**FACTS, ROUTE_FIELD: "%ROUTE_NAME%"}
    answered = [ASSERTION_HEADER, REQUEST_ID_HEADER, "Cookie", *sorted({name for app in config.apps for name in app.headers})]
    return {
        "http_service": {
            "server_uri": {"uri": "http://gateway", "cluster": "gateway_door", "timeout": f"{seconds}s"},
            "path_prefix": PREFIX,
            "authorization_request": {"headers_to_add": [{"key": name, "value": value} for name, value in facts.items()]},
            "authorization_response": {
                "allowed_upstream_headers": {"patterns": [{"exact": name.lower(), "ignore_case": True} for name in answered]}
            },
        },
        # The question shows all that the client sent, as every other door sees it, but the framing of its body.
        "allowed_headers": {"patterns": [{"safe_regex": {"regex": ".*"}}]},
        "disallowed_headers": {
            "patterns": [{"exact": name} for name in ("transfer-encoding", "content-length", "te", "trailer")]
        },
    }


def cookies() -> Json:
    """Keeps the gateway's own cookies out of applications' replies."""
    source = {"inline_string": _KEEP_COOKIES}
    kind = f"{TYPE}.filters.http.lua.v3.Lua"
    return {"name": RESPONSES, "typed_config": {"@type": kind, "default_source_code": source}}


# ---------------------------------------------------------------- replies that Envoy makes itself


def local_replies() -> Json:
    """What Envoy answers when the gateway or an application does not, and the 503 of the gateway's own."""
    person = {"header_filter": {"header": {"name": "sec-fetch-mode", "string_match": {"exact": "navigate"}}}}
    mappers: list[Json] = [{"filter": _status(UNAVAILABLE_AS), "status_code": 503}]
    for filters, words in (
        ([_status(_BROKEN[1]), _flags("UAEX")], NO_ANSWER),
        ([_flags("UF", "UH", "UO", "UC", "URX", "UPE", "LR")], NO_APPLICATION),
        ([_flags("UT", "SI", "DT")], msgspec.structs.replace(NO_APPLICATION, status=504)),
    ):
        mappers.append(_reply([*filters, person], words, page(words), "text/html; charset=utf-8"))
        mappers.append(_reply(filters, words, script(words), "application/json"))
    return {"mappers": mappers}


def _reply(filters: list[Json], words: Words, body: str, kind: str) -> Json:
    return {
        "filter": {"and_filter": {"filters": filters}} if len(filters) > 1 else filters[0],
        "status_code": words.status,
        "body_format_override": {"text_format_source": {"inline_string": body}, "content_type": kind},
        "headers_to_add": [
            setting("cache-control", "no-store"),
            *([setting("retry-after", "5")] if words.status == 503 else []),  # noqa: PLR2004  Service Unavailable
        ],
    }


def _status(code: int) -> Json:
    value = {"default_value": code, "runtime_key": f"gateway.status.{code}"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


def _flags(*flags: str) -> Json:
    return {"response_flag_filter": {"flags": list(flags)}}
