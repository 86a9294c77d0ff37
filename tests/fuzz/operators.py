"""What a platform operator answers, fuzzed: a first line says whether it is `validate`'s or `recheck`'s, and its HTTP status."""

from typing import Final

from idp.proofing.platform_operator.answers import Limits, outcome, references, standing
from idp.proofing.platform_operator.client import Reply
from idp.proofing.platform_operator.pointers import look
from idp.proofing.platform_operator.profile import load_profile
from idp.proofing.port import Broken, NotProofed, Proofed, Valid
from idp.proofing.strict import StrictError, holds_individual_number, parse_object

_PROFILE: Final = load_profile("pocketsign-verify-v2")
_NOW: Final = 1_800_000_000
_LIMITS: Final = Limits(begun_at=_NOW - 60, now=_NOW, skew_seconds=300, valid_seconds=86_400)
_VALUES: Final = {"digest": "ZGlnZXN0"}


def operator(data: bytes) -> None:
    """Nobody is proofed unless everything is there, about this beginning, and the card is called good."""
    first, _, body = data.partition(b"\n")
    try:
        document = parse_object(body)
    except StrictError:
        return
    assert not holds_individual_number(document)
    reply = Reply(status=200 if first.endswith(b"200") else 400, document=document)
    if first.startswith(b"recheck"):
        recheck = _PROFILE.recheck
        assert recheck is not None
        held = standing(recheck.state, reply)
        state = look(document, ("/certificateState", "/certificateStatus/status"))
        assert isinstance(held, Valid) == (reply.status == 200 and state in {"STATE_GOOD", "STATUS_GOOD"})
        return
    ended = outcome(_PROFILE, reply, _VALUES, _LIMITS)
    assert isinstance(ended, Proofed | NotProofed | Broken)
    if isinstance(ended, Broken):
        assert len(ended.detail) <= 200
        assert ended.detail.isprintable()
    if isinstance(ended, Proofed):
        assert reply.status == 200
        assert document["verification"]["result"] == "RESULT_OK"
        assert document["verification"]["digest"] == "ZGlnZXN0"
        assert document["certificateStatus"]["status"] == "STATUS_GOOD"
        assert document["certificate"]["type"].endswith("DIGITAL_SIGNATURE")
        assert references(ended.transaction) == (document["verification"]["id"], document["user"]["id"])
        assert ended.person.reveal() == document["user"]["id"]
        assert ended.attributes is not None
        assert ended.attributes.name.strip()
        assert ended.expires_at is not None
        assert _NOW < ended.expires_at <= _NOW + 86_400
