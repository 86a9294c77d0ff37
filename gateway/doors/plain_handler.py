"""Who answers requests that were read without aiohttp (`gateway.doors.plain`)."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final, Protocol

from gateway.domain.request import Headers, Request
from gateway.doors.repeated import Question
from gateway.doors.reply import Wire

if TYPE_CHECKING:
    from gateway.doors.client import GatewayProtocol


class PlainRequest:
    """A whole request without a body that was read without aiohttp."""

    __slots__ = ("_headers", "client", "method", "parsed", "question", "raw_path")

    def __init__(
        self, client: "GatewayProtocol", method: str, raw_path: str, headers: Headers, question: Question | None = None
    ) -> None:
        """`question`: what `headers` stand in, instead of them."""
        self.client: Final = client
        self.method: Final = method
        self.raw_path: Final = raw_path
        """The target, byte for byte."""
        self.question: Final = question
        """The same request, cut: where the listener was told which lines change."""
        self._headers: Final = headers
        self.parsed: Request | None = None
        """For the handler: the canonical request, once it has taken it."""

    @property
    def headers(self) -> Headers:
        """The same object as in the connection's request before, when it is not cut and the fields' bytes are the same."""
        return self._headers if self.question is None else self.question.headers()


class PlainHandler(Protocol):
    """Answers plain requests."""

    def takes(self, request: PlainRequest) -> bool:
        """Whether it answers this one; if not, aiohttp's parser reads it for the usual handler. Must not raise."""
        ...

    def answer(self, request: PlainRequest) -> Awaitable[Wire]:
        """Answer, or return what has been answered already."""
        ...

    def failed(self, request: PlainRequest, error: Exception) -> Wire:
        """Return the reply to a request on which `answer` raised."""
        ...
