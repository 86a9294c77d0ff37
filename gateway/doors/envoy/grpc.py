"""`ext_authz` over gRPC: `envoy.service.auth.v3.Authorization/Check`.

What the client sent stands in the message, byte for byte (`encode_raw_headers`). The client's address is the API's
`source.address`; what else Envoy says of the client (`gateway.doors.said`) comes as the call's own metadata, where no client can
write, and the route that Envoy has chosen in `context_extensions`: see `gateway.frontconf.envoy`, whose configuration this door
expects.

Allow sets and removes fields of the request to the application; every other decision carries its page, status and fields. A
message that can't be read is an error of the call, and Envoy answers 503 by itself (`failure_mode_allow: false`).

What this door does not see: the body, the response, trailers, and how the request ended: the log holds the decision and no
completion record.
"""

import logging
from typing import Final

from google.protobuf.message import DecodeError

from gateway.domain.connection import Connection
from gateway.domain.decision import Allow, Unavailable
from gateway.domain.headers import HOP_BY_HOP, fold
from gateway.domain.reason import RefuseReason, UnavailableReason
from gateway.domain.request import Headers, RawRequest, Refusal
from gateway.doors.contract import Pipeline, Present, Reply
from gateway.doors.envoy import check_pb2 as pb
from gateway.doors.envoy.common import GRPC_DOOR, ROUTE_FIELD, changed_cookie, routed
from gateway.doors.envoy.unary import UnaryListener
from gateway.doors.envoy.unary_connection import BadMessageError, Metadata, UnaryLimits
from gateway.doors.external import Asking, Settled
from gateway.doors.limits import ListenerLimits
from gateway.doors.said import Says, client_of
from gateway.doors.trust import Fronts
from gateway.kernel.ids import new_id

logger = logging.getLogger(__name__)

METHOD_PATH: Final = "/envoy.service.auth.v3.Authorization/Check"
_PERMISSION_DENIED: Final = 7
"""google.rpc.Code."""
_SET: Final = pb.HeaderValueOption.AppendAction.OVERWRITE_IF_EXISTS_OR_ADD
_ADD: Final = pb.HeaderValueOption.AppendAction.APPEND_IF_EXISTS_OR_ADD
_OF_THE_HOP: Final = (HOP_BY_HOP - {"upgrade"}) | {"host", "contentlength", "expect"}
"""Framing and Connection are between client and Envoy, which has checked them; Host is said apart."""
_ADDRESS_FIELDS: Final = ("x-forwarded-for", "x-forwarded-client-port")
_NOWHERE: Final = Connection(peer_address="")


class EnvoyGrpcDoor:
    """The service. Let `listener` listen, and close it once."""

    def __init__(
        self, *, pipeline: Pipeline, present: Present, fronts: Fronts, says: Says, limits: ListenerLimits | None = None
    ) -> None:
        """`says`: what the fronts tell of the client beyond its address and scheme. `limits` are for what clients send."""
        limits = limits or ListenerLimits()
        self._asking = Asking(pipeline=pipeline, present=present, door=GRPC_DOOR, limits=limits.head)
        self._present = present
        self._says: Final = says
        self.listener: Final = UnaryListener(
            self._check,
            path=METHOD_PATH,
            refuse=self._asking.refuse,
            fronts=fronts,
            limits=UnaryLimits(handshake_seconds=limits.head_seconds),
        )

    async def _check(self, message: bytes, metadata: Metadata, front: str) -> bytes:
        question = pb.CheckRequest()
        try:
            question.ParseFromString(message)
        except DecodeError as error:
            logger.warning("a question can't be read: %s", error)
            raise BadMessageError from error
        try:
            settled = await self._settle(question, metadata, front)
            allow = settled.decision
            answer = _allowed(allow, self._asking) if isinstance(allow, Allow) else _no(self._asking.reply(settled))
        except Exception as error:
            decision = Unavailable(id=new_id("dec"), reason=UnavailableReason.INTERNAL)
            logger.error("request failed, reference %s", decision.id, exc_info=error)  # noqa: TRY400  the trace is in it
            answer = _no(self._present.reply(decision, request=None, raw=_described(question)))
        return answer.SerializeToString()

    async def _settle(self, question: pb.CheckRequest, metadata: Metadata, front: str) -> Settled:
        described = _described(question)
        # 1. What Envoy says of the client and of its own routing.
        connection = client_of(_facts(question, metadata), front, self._says)
        if isinstance(connection, Refusal):
            return await self._asking.refuse(described, connection)
        route = routed(question.attributes.context_extensions.get(ROUTE_FIELD))
        if isinstance(route, Refusal):
            return await self._asking.refuse(described, route)
        if not (described.method and described.target):
            refusal = Refusal(reason=RefuseReason.FORWARDED_MISSING, detail="Envoy does not say method and path")
            return await self._asking.refuse(described, refusal)
        # 2. The same decision as at every door.
        raw = RawRequest(method=described.method, target=described.target, headers=described.headers, connection=connection)
        return await self._asking.decide(raw, routed=route)


def _facts(question: pb.CheckRequest, metadata: Metadata) -> Metadata:
    """What Envoy says, with the address and port of the API instead of the field's: Envoy appends its own address to that one."""
    source = question.attributes.source.address.socket_address
    said = tuple(field for field in metadata if field[0] not in _ADDRESS_FIELDS)
    if not source.address:
        return said  # which is refused
    return (*said, ("x-forwarded-for", source.address), ("x-forwarded-client-port", str(source.port_value)))


def _described(question: pb.CheckRequest) -> RawRequest:
    """The client's request. Bytes that are not UTF-8 become lone surrogates, which are refused later, with a record."""
    http = question.attributes.request.http
    fields = [(_text(field.key), _text(field.raw_value or field.value)) for field in http.header_map.headers]
    headers = tuple((name, value) for name, value in fields if not name.startswith(":") and fold(name) not in _OF_THE_HOP)
    host: Headers = (("Host", _text(http.host)),) if http.host else ()
    return RawRequest(method=_text(http.method), target=_text(http.path), headers=(*host, *headers), connection=_NOWHERE)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _allowed(allow: Allow, asking: Asking) -> pb.CheckResponse:
    fields = asking.upstream_fields(allow)
    removed: list[str] = []
    cookie = changed_cookie(allow.request)
    if cookie:
        fields.append(("Cookie", cookie))
    elif cookie is not None:
        removed.append("cookie")
    return pb.CheckResponse(
        status=pb.Status(code=0),
        ok_response=pb.OkHttpResponse(headers=[_field(name, value, _SET) for name, value in fields], headers_to_remove=removed),
    )


def _no(reply: Reply) -> pb.CheckResponse:
    seen: set[str] = set()
    headers = []
    for name, value in reply.headers:
        # The first of a name replaces what Envoy would say by itself; a second Set-Cookie stands beside the first.
        headers.append(_field(name, value, _ADD if name.lower() in seen else _SET))
        seen.add(name.lower())
    return pb.CheckResponse(
        status=pb.Status(code=_PERMISSION_DENIED),
        denied_response=pb.DeniedHttpResponse(status=pb.HttpStatus(code=reply.status), headers=headers, body=reply.body),
    )


def _field(name: str, value: str, action: "pb.HeaderValueOption.AppendAction") -> pb.HeaderValueOption:
    header = pb.HeaderValue(key=name.encode("ascii"), value=value.encode("utf-8"))
    return pb.HeaderValueOption(header=header, append_action=action)
