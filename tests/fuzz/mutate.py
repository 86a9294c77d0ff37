"""Small changes of inputs that are interesting already: enough to fuzz with, without anything to install."""

import random
from collections.abc import Sequence
from typing import Final

TOKENS: Final = (
    b"%2e",
    b"%2F",
    b"%5c",
    b"%00",
    b"%25",
    b"%61",
    b"%zz",
    b"%",
    b"..",
    b".",
    b"/",
    b"//",
    b"\\",
    b";",
    b"#",
    b"?",
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\x00",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xe2\x84\xaa",
    b" ",
    b"\t",
    b":",
    b": ",
    b",",
    b"admin",
    b"Host: ehr.localhost",
    b"Content-Length: 4",
    b"Transfer-Encoding: chunked",
    b"Connection: close",
    b"Upgrade: websocket",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"0",
    b"-",
    b"_",
    b"X-Forwarded-For: a",
    b"__Host-gw-session=",
    b"Set-Cookie: ",
    b"=",
    b"GET",
    b"HEAD",
    b"99999999999999999999",
)
MAX: Final = 4_096


def mutated(chance: random.Random, corpus: Sequence[bytes]) -> bytes:
    """Return one of the corpus with one to eight changes."""
    data = bytearray(chance.choice(corpus))
    for _ in range(chance.randint(1, 8)):
        place = chance.randint(0, len(data))
        kind = chance.randrange(6)
        if kind == 0:
            data[place:place] = chance.choice(TOKENS)
        elif kind == 1 and place < len(data):
            data[place] = chance.randrange(256)
        elif kind == 2:
            del data[place : place + chance.randint(1, 4)]
        elif kind == 3:
            other = chance.choice(corpus)
            start = chance.randint(0, len(other))
            data[place:place] = other[start : start + chance.randint(1, 40)]
        elif kind == 4:
            data[place:place] = data[place : place + chance.randint(1, 20)]
        elif place < len(data):
            data[place] ^= 0x20
    return bytes(data[:MAX])
