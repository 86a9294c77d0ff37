"""What Envoy says by itself when the gateway or an application does not answer. Nobody was let through."""

import html
import json
from typing import Final

import msgspec


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to say, in both languages."""

    status: int
    error: str
    title_ja: str
    text_ja: str
    title_en: str
    text_en: str


NO_ANSWER: Final = Words(
    status=503,
    error="unavailable",
    title_ja="アクセスゲートウェイが応答していません",
    text_ja="現在、どなたもアクセスできません。数秒後にもう一度お試しください。続く場合は情報システム担当に連絡してください。",
    title_en="The access gateway does not answer",
    text_en="Nobody can be let in right now. Try again in a few seconds; if it goes on, call your IT desk.",
)
NO_APPLICATION: Final = Words(
    status=502,
    error="upstream",
    title_ja="システムが応答していません",
    text_ja="システムから応答がありません。数秒後にもう一度お試しください。続く場合は情報システム担当に連絡してください。",
    title_en="The system does not answer",
    text_en="The system behind the gateway does not answer. Try again in a few seconds; if it goes on, call your IT desk.",
)
_STYLE: Final = "body{font-family:sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem;line-height:1.7}"


def page(words: Words) -> str:
    """Return a page for people, as a format of Envoy's (where `%` is special)."""
    parts = [
        f'<section lang="{language}"><h1>{html.escape(title)}</h1><p>{html.escape(text)}</p></section>'
        for language, title, text in (("ja", words.title_ja, words.text_ja), ("en", words.title_en, words.text_en))
    ]
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(words.title_ja)}</title>'
    )
    document = f'<!doctype html><html lang="ja"><head>{head}<style>{_STYLE}</style></head><body>{"".join(parts)}</body></html>\n'
    return document.replace("%", "%%")


def script(words: Words) -> str:
    """Return the same for scripts, in the shape of the gateway's own answers."""
    return (json.dumps({"error": words.error, "reason": "gateway", "message": words.text_en, "decision": ""}) + "\n").replace(
        "%", "%%"
    )
