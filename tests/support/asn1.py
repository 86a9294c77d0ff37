"""Writes ASN.1 by hand, right or wrong: certificates that no library would make."""

from datetime import UTC, datetime
from typing import Final

NULL: Final = b"\x05\x00"
TRUE: Final = b"\x01\x01\xff"
SHA256_WITH_RSA: Final = "1.2.840.113549.1.1.11"


def length(count: int) -> bytes:
    if count < 0x80:
        return bytes([count])
    size = (count.bit_length() + 7) // 8
    return bytes([0x80 | size]) + count.to_bytes(size, "big")


def tlv(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return bytes([tag]) + length(len(content)) + content


def seq(*parts: bytes) -> bytes:
    return tlv(0x30, *parts)


def integer(number: int) -> bytes:
    return tlv(0x02, number.to_bytes((number if number >= 0 else ~number).bit_length() // 8 + 1, "big", signed=True))


def oid(dotted: str) -> bytes:
    first, second, *rest = (int(part) for part in dotted.split("."))
    content = bytearray()
    for number in (first * 40 + second, *rest):
        digits = [number & 0x7F]
        while number := number >> 7:
            digits.append(number & 0x7F | 0x80)
        content += bytes(reversed(digits))
    return tlv(0x06, bytes(content))


def utf8(text: str) -> bytes:
    return tlv(0x0C, text.encode("utf-8", "surrogatepass"))


def octets(content: bytes) -> bytes:
    return tlv(0x04, content)


def bits(content: bytes, unused: int = 0) -> bytes:
    return tlv(0x03, bytes([unused]), content)


def named_bits(*numbers: int) -> bytes:
    """A named bit list without trailing zeros."""
    if not numbers:
        return bits(b"")
    last = max(numbers)
    content = bytearray(last // 8 + 1)
    for number in numbers:
        content[number // 8] |= 0x80 >> number % 8
    return bits(bytes(content), 7 - last % 8)


def utc_time(at: int) -> bytes:
    return tlv(0x17, datetime.fromtimestamp(at, UTC).strftime("%y%m%d%H%M%SZ").encode())


def general_time(at: int) -> bytes:
    return tlv(0x18, datetime.fromtimestamp(at, UTC).strftime("%Y%m%d%H%M%SZ").encode())


def algorithm(dotted: str = SHA256_WITH_RSA) -> bytes:
    return seq(oid(dotted), NULL)


def name(*parts: tuple[str, str], tag: int = 0x13) -> bytes:
    """A distinguished name of single-valued parts: `("2.5.4.6", "JP")`."""
    return seq(*(tlv(0x31, seq(oid(kind), tlv(tag, text.encode()))) for kind, text in parts))


def rsa_key(modulus: int, exponent: int) -> bytes:
    """The RSAPublicKey inside a SubjectPublicKeyInfo."""
    return seq(integer(modulus), integer(exponent))


def key_info(modulus: int, exponent: int) -> bytes:
    return seq(algorithm("1.2.840.113549.1.1.1"), bits(rsa_key(modulus, exponent)))


def extension(dotted: str, value: bytes, *, critical: bool = False) -> bytes:
    return seq(oid(dotted), TRUE if critical else b"", octets(value))
