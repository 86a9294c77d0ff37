"""What if: facts that somebody supposes, from a documented ordinary beginning and what they say differs. Pure.

The beginning (`ORDINARY`) is a person without a role who signed in with password and one-time code ten minutes ago, whose
identity was proofed thirty days ago, on the hospital's own device in good order, from outside all zones, on a weekday morning.
Facts that follow from others follow here, too: an evidence has its strength, kinds of sign-in their number of factors.
"""

import difflib
from collections.abc import Mapping
from typing import Any, Final, Literal, get_args, get_origin

import msgspec

from gateway.kernel.errors import GatewayError
from gateway.policy.facts import (
    AuthenticationFacts,
    DeviceFacts,
    Facts,
    NetworkFacts,
    PrincipalFacts,
    ProofingFacts,
    TargetFacts,
    TimeFacts,
    count_factors,
)
from gateway.policy.source import printable
from gateway.policy.steps import EVIDENCE_STRENGTH
from gateway.policy.words import fact_names, value_at

ORDINARY: Final = Facts(
    principal=PrincipalFacts(id="usr_example", roles=(), organization=""),
    authentication=AuthenticationFacts(
        kinds=("otp", "pwd"), factors=2, phishing_resistant=False, age_seconds=600, key_touch_age_seconds=None
    ),
    proofing=ProofingFacts(level=3, method="jpki_sign", age_days=30, expires_in_days=1000, authenticator_bound=True),
    device=DeviceFacts(
        registered=True,
        compliant=True,
        evidence="key",
        evidence_strength=EVIDENCE_STRENGTH["key"],
        ownership="hospital",
        compliance_age_seconds=3600,
    ),
    network=NetworkFacts(zone="other", tls=True),
    time=TimeFacts(hour=10, weekday=2, date="2026-11-24", day=20261124, holiday=False, shifts=()),
    situation="normal",
    grants=(),
    target=TargetFacts(app="", route="", action="read", sensitivity="normal", patient=""),
)

SignIn = Literal["two_factors", "password", "key_now", "key_earlier", "recovery_code"]
Device = Literal["hospital", "personal", "vendor", "certificate", "not_compliant", "none"]

SIGN_INS: Final[Mapping[str, Mapping[str, str]]] = {
    "two_factors": {},
    "password": {"authentication.kinds": "pwd"},
    "key_now": {
        "authentication.kinds": "fido2,pwd",
        "authentication.age_seconds": "60",
        "authentication.key_touch_age_seconds": "60",
    },
    "key_earlier": {
        "authentication.kinds": "fido2,pwd",
        "authentication.age_seconds": "3600",
        "authentication.key_touch_age_seconds": "3600",
    },
    "recovery_code": {"authentication.kinds": "pwd,recovery", "proofing.authenticator_bound": "no"},
}
"""Ways of having signed in, as what differs from the beginning."""
_NO_DEVICE: Final = {
    "device.registered": "no",
    "device.compliant": "no",
    "device.evidence": "none",
    "device.ownership": "",
    "device.compliance_age_seconds": "unknown",
}
DEVICES: Final[Mapping[str, Mapping[str, str]]] = {
    "hospital": {},
    "personal": {"device.ownership": "personal"},
    "vendor": {"device.ownership": "vendor"},
    "certificate": {"device.evidence": "certificate"},
    "not_compliant": {"device.compliant": "no"},
    "none": _NO_DEVICE,
}
"""Devices, in the same way."""
NO_PROOFING: Final = {
    "proofing.level": "0",
    "proofing.method": "none",
    "proofing.age_days": "0",
    "proofing.expires_in_days": "unknown",
    "proofing.authenticator_bound": "no",
}
"""A person whose identity was not proofed."""

_YES: Final = frozenset({"yes", "true", "1", "はい"})
_NO: Final = frozenset({"no", "false", "0", "いいえ"})
_UNKNOWN: Final = frozenset({"unknown", "不明"})
_LONGEST: Final = 128


class NotSupposable(GatewayError):  # noqa: N818  what somebody typed, no fault
    """What was supposed is no fact, or has no such value."""

    def __init__(self, what: str, todo: str) -> None:
        super().__init__(what, todo=todo)
        self.what = what
        self.todo = todo


def suppose(base: Facts, changes: Mapping[str, str]) -> Facts:
    """Return `base` with what differs: names of facts ("device.compliant") to values as somebody types them.

    Sets are separated by commas; what is not known is `unknown`. Raises NotSupposable, with the nearest right name.
    """
    values: dict[str, Any] = msgspec.to_builtins(base)
    types = fact_names()
    for name, text in changes.items():
        hint = types.get(name)
        if hint is None:
            near = difflib.get_close_matches(name, types, 1) or [full for full in types if full.endswith(f".{name}")][:1]
            todo = f"Did you mean {near[0]}?" if near else "policies/README.md lists the facts: device.compliant, for instance"
            raise NotSupposable(f"{printable(name)[:_LONGEST]!a} is no fact", todo)
        part, _, attribute = name.partition(".")
        value = _value(name, hint, text)
        if attribute:
            values[part][attribute] = value
        else:
            values[part] = value
    _follow(values, changes)
    try:
        return msgspec.convert(values, Facts)
    except msgspec.ValidationError as error:
        raise NotSupposable(printable(str(error)), "policies/README.md lists the words of each fact") from None


def as_typed(facts: Facts, name: str) -> str:
    """Return a fact's value as `suppose` takes it."""
    value = value_at(facts, name)
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _value(name: str, hint: object, text: str) -> object:
    text = text.strip()
    if len(text) > _LONGEST or not text.isprintable():
        raise NotSupposable(f"the value of {name} is too long or holds an invisible character", f"At most {_LONGEST} characters")
    kinds = get_args(hint) if type(None) in get_args(hint) else (hint,)
    if type(None) in kinds and text in _UNKNOWN:
        return None
    if bool in kinds:
        if text.casefold() not in _YES | _NO:
            raise NotSupposable(f"{name} is yes or no, not {text!a}", "Write yes or no")
        return text.casefold() in _YES
    if int in kinds:
        try:
            return int(text)
        except ValueError:
            raise NotSupposable(f"{name} is a whole number, not {text!a}", "Write digits only") from None
    if get_origin(hint) is tuple:
        members = sorted({one.strip() for one in text.split(",")} - {""})
        return [_word(name, get_args(hint)[0], one) for one in members]
    return _word(name, hint, text)


def _word(name: str, hint: object, text: str) -> str:
    known = get_args(hint) if get_origin(hint) is Literal else ()
    if known and text not in known:
        near = difflib.get_close_matches(text, known, 1)
        words = ", ".join(word or '""' for word in known)
        raise NotSupposable(f"{name} is never {text!a}", f"Did you mean {near[0]}?" if near else f"It is one of: {words}")
    return text


def _follow(values: dict[str, Any], changes: Mapping[str, str]) -> None:
    """Set what follows from what was said, unless that was said, too."""

    def follows(name: str, value: object) -> None:
        if name not in changes:
            part, _, attribute = name.partition(".")
            values[part][attribute] = value

    signed_in, device = values["authentication"], values["device"]
    if "authentication.key_touch_age_seconds" in changes and "authentication.kinds" not in changes:
        touched = {"fido2"} if signed_in["key_touch_age_seconds"] is not None else set()
        signed_in["kinds"] = sorted(({*signed_in["kinds"]} - {"fido2"}) | touched)
    if {"authentication.kinds", "authentication.key_touch_age_seconds"} & changes.keys():
        follows("authentication.factors", count_factors(signed_in["kinds"]))
        follows("authentication.phishing_resistant", "fido2" in signed_in["kinds"])
        if "fido2" not in signed_in["kinds"]:
            follows("authentication.key_touch_age_seconds", None)
        elif signed_in["key_touch_age_seconds"] is None:
            follows("authentication.key_touch_age_seconds", signed_in["age_seconds"])
        newest = signed_in["key_touch_age_seconds"]
        if newest is not None:
            follows("authentication.age_seconds", min(signed_in["age_seconds"], newest))
    if "device.evidence" in changes:
        follows("device.evidence_strength", EVIDENCE_STRENGTH[device["evidence"]])
