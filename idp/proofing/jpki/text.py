"""The text that a person signs, and what a card client is handed and hands back (docs/ekyc/jpki.md has the protocol).

What is signed is what is seen: the challenge is the UTF-8 of the very text on the page, and says in Japanese what it is good for,
for whom, and when. Everything here is pure.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

import msgspec

from gateway.kernel.web.show import visible
from idp.proofing.jpki.certificate import MAXIMUM_BYTES
from idp.proofing.jpki.der import Malformed
from idp.proofing.port import Purpose

NONCE_BYTES: Final = 32
_JAPAN: Final = timezone(timedelta(hours=9))
_ANSWER_CHARACTERS: Final = 32_768
_SIGNATURE_BYTES: Final = 256
_WORD: Final = re.compile(r"[a-z_]{1,40}")
_PURPOSES: Final[dict[Purpose, str]] = {"sign_in": "職員の本人確認(サインイン時)", "renewal": "職員の本人確認(更新)"}


def text_to_sign(*, institution: str, verifier: str, name: str, purpose: Purpose, at: int, transaction: str, nonce: bytes) -> str:
    """Return the text. `name` is the roster's, `at` epoch seconds (shown as Japan's time), `nonce` 32 random bytes."""
    if len(nonce) != NONCE_BYTES:
        raise ValueError("a nonce of 32 bytes")
    moment = datetime.fromtimestamp(at, UTC).astimezone(_JAPAN)
    return "\n".join(
        (
            "本人確認のための電子署名",
            "",
            f"私は、{visible(institution, 120)}が行う職員の本人確認のため、マイナンバーカードでこの文書に署名します。",
            "この署名は今回の本人確認だけに使われ、契約や申請など、ほかの目的には使われません。",
            "",
            f"対象者: {visible(name, 80)}",
            f"提出先: {visible(institution, 120)}",
            f"検証者: {visible(verifier, 120)}",
            f"目的: {_PURPOSES[purpose]}",
            f"日時: {moment:%Y}年{moment:%m}月{moment:%d}日 {moment:%H}時{moment:%M}分{moment:%S}秒(日本時間)",
            f"照会番号: {transaction}",
            f"確認番号: {nonce.hex()}",
            "",
        )
    )


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a card client brought back, unverified."""

    certificate: bytes = b""
    signature: bytes = b""
    kind: str = ""
    error: str = ""
    """The client's own word for why there is no signature; then nothing else counts."""

    def __repr__(self) -> str:
        return "Answer(***)"


class _Fields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    certificate: str = ""
    signature: str = ""
    kind: str = ""
    error: str = ""


def parse_answer(form: Mapping[str, str]) -> Answer:
    """Return the answer out of the form's own fields, or out of the client's JSON pasted into the field `answer`. Malformed: no
    answer, both, or fields that are not of their size and encoding.
    """
    # [1] the fields: of their size, base64 in its one spelling
    pasted = form.get("answer", "").strip()
    fields = _Fields(**{name: form[name] for name in ("certificate", "signature", "kind", "error") if name in form})
    if pasted and not fields.error:
        if fields != _Fields() or len(pasted) > _ANSWER_CHARACTERS:
            raise Malformed("an answer in two ways, or too long")
        try:
            fields = msgspec.json.decode(pasted, type=_Fields)
        except (msgspec.DecodeError, UnicodeEncodeError) as error:  # a lone surrogate is no UTF-8
            raise Malformed("an answer that is no JSON of these fields") from error
    if fields.error:
        if not _WORD.fullmatch(fields.error):
            raise Malformed("an error that is no word")
        return Answer(error=fields.error)
    if fields.kind not in {"sign", "auth"}:
        raise Malformed("no kind of certificate")
    return Answer(
        certificate=_base64(fields.certificate, MAXIMUM_BYTES), signature=_base64(fields.signature, _SIGNATURE_BYTES),
        kind=fields.kind,
    )  # fmt: skip


def _base64(text: str, most: int) -> bytes:
    if not text or len(text) > (most + 2) // 3 * 4:
        raise Malformed("a field that is empty or too long")
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise Malformed("a field that is not base64") from error
    if base64.b64encode(data).decode() != text or len(data) > most:
        raise Malformed("base64 in another spelling than its own, or too long")
    return data
