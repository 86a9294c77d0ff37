"""Time-based one-time codes (RFC 6238): SHA-1, 30 seconds, 6 digits, one step of clock drift either way.

A step is spent when it was accepted. `matching_step` only finds the step: the caller must then take it in the store in one atomic
step (greater than the last one taken), which is what stops the same code in two browsers at once.
"""

import base64
import re
import unicodedata
from io import BytesIO
from typing import Final

import pyotp
import segno

from gateway.kernel.secret import Secret, same

PERIOD_SECONDS: Final = 30
DRIFT_STEPS: Final = 1
SECRET_BYTES: Final = 20
"""RFC 4226 §4 R6 recommends 160 bits."""

_CODE = re.compile(r"[0-9]{6}")


def new_secret(randomness: bytes) -> Secret:
    """Return a base32 secret from 20 random bytes."""
    if len(randomness) != SECRET_BYTES:
        raise ValueError(f"a TOTP secret takes {SECRET_BYTES} random bytes, not {len(randomness)}")
    return Secret(base64.b32encode(randomness).decode("ascii"))


def matching_step(secret: Secret, code: str, now: float, last_step: int) -> int | None:
    """Return the time step that `code` belongs to, or None when there is none within the drift that is newer than `last_step`.

    `last_step` is the newest step that was ever accepted, -1 when none. Digits may be full-width and have spaces between.
    """
    digits = re.sub(r"\s", "", unicodedata.normalize("NFKC", code))
    if not _CODE.fullmatch(digits):
        return None
    totp = pyotp.TOTP(secret.reveal(), interval=PERIOD_SECONDS)
    current = int(now // PERIOD_SECONDS)
    found: int | None = None
    for step in range(max(0, current - DRIFT_STEPS), current + DRIFT_STEPS + 1):  # all of them, whichever matches: even time
        if same(totp.generate_otp(step), digits) and step > last_step:
            found = step
    return found


def enrolment_url(secret: Secret, login: str, issuer: str) -> Secret:
    """Return the `otpauth://` URL that authenticator apps scan. It holds the secret, hence the type."""
    return Secret(pyotp.TOTP(secret.reveal(), interval=PERIOD_SECONDS).provisioning_uri(name=login, issuer_name=issuer))


def qr_svg(url: Secret) -> str:
    """Return the URL as an SVG element to embed in a page: no script, no style attribute, no reference to anything else."""
    out = BytesIO()
    segno.make(url.reveal(), error="m").save(
        out, kind="svg", scale=4, border=4, dark="#000", light="#fff", xmldecl=False, svgns=True, omitsize=True, nl=False,
        svgclass="qr", lineclass=None,
    )  # fmt: skip
    return out.getvalue().decode("utf-8")


def grouped(secret: Secret) -> str:
    """Return the secret in groups of four, for typing it in by hand."""
    text = secret.reveal()
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))
