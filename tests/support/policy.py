"""Bundles and facts for tests of the policies."""

from pathlib import Path
from typing import Any, get_args

import msgspec
from hypothesis import strategies as st

from gateway.domain.posture import PostureName
from gateway.policy.compile import SCHEMA_FILE, compile_bundle
from gateway.policy.evaluate import Bundle
from gateway.policy.facts import (
    Action,
    AuthenticationFacts,
    AuthKind,
    DeviceFacts,
    Evidence,
    Facts,
    NetworkFacts,
    Ownership,
    PrincipalFacts,
    ProofingFacts,
    Sensitivity,
    Situation,
    TargetFacts,
    TimeFacts,
    count_factors,
)
from gateway.policy.schema import cedar_schema

STARTER = Path(__file__).parents[2] / "policies"
EVIDENCE: tuple[Evidence, ...] = get_args(Evidence)

CASES = b"""
[[case]]
name = "read"
base = "anyone"
target = "ehr.chart"
expect = { outcome = "allow", policies = ["read"] }
"""


def policy(
    name: str = "read",
    when: str = "",
    *,
    effect: str = "permit",
    scope: str = 'principal, action == Action::"read", resource',
    more: str = "",
) -> str:
    """One policy with everything that a policy must have."""
    condition = f"\nwhen {{ {when} }}" if when else ""
    return f'@id("{name}")\n@title_ja("題")\n@title_en("Title")\n{more}{effect} ({scope}){condition};\n'


def bundle(*texts: str) -> Bundle:
    """Compile policies as one file `a.cedar`."""
    return compile_bundle({SCHEMA_FILE: cedar_schema().encode(), "a.cedar": "\n".join(texts).encode()}, "b")


def facts_toml(facts: Facts) -> bytes:
    """`bases.toml` with base `anyone` and target `ehr.chart` made from facts."""

    def value(item: object) -> str:
        if isinstance(item, dict):
            return "{ " + ", ".join(f"{key} = {value(inner)}" for key, inner in item.items() if inner is not None) + " }"
        return msgspec.json.encode(item).decode()

    plain = msgspec.to_builtins(facts)
    target = plain.pop("target")
    lines = ["[base.anyone]", *(f"{key} = {value(part)}" for key, part in plain.items())]
    lines += ['[target."ehr.chart"]', *(f"{key} = {value(part)}" for key, part in target.items())]
    return "\n".join(lines).encode()


def write_bundle(folder: Path, *texts: str, cases: bytes | None = CASES) -> Path:
    """Write a bundle with `a.cedar` and, unless None, cases."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SCHEMA_FILE).write_text(cedar_schema(), "utf-8")
    (folder / "a.cedar").write_text("\n".join(texts), "utf-8")
    if cases is not None:
        (folder / "cases").mkdir(exist_ok=True)
        (folder / "cases" / "bases.toml").write_bytes(facts_toml(facts()))
        (folder / "cases" / "a.toml").write_bytes(cases)
    return folder


def facts(**parts: object) -> Facts:
    """Facts of a physician who reads a chart with everything in order. A part is a dict of what differs, or a value."""
    plain = Facts(
        principal=PrincipalFacts(id="usr_1", roles=("physician",), organization="第一病院"),
        authentication=AuthenticationFacts(
            kinds=("otp", "pwd"), factors=2, phishing_resistant=False, age_seconds=60, key_touch_age_seconds=None
        ),
        proofing=ProofingFacts(level=3, method="jpki_sign", age_days=3, expires_in_days=1800, authenticator_bound=True),
        device=DeviceFacts(
            registered=True,
            compliant=True,
            evidence="cookie",
            evidence_strength=1,
            ownership="hospital",
            compliance_age_seconds=60,
            disk_encrypted=True,
            disk_encrypted_age_seconds=3600,
            screen_lock=True,
            screen_lock_age_seconds=3600,
            antivirus=True,
            antivirus_age_seconds=3600,
            os_supported=True,
            os_supported_age_seconds=3600,
        ),
        network=NetworkFacts(zone="ward", tls=True),
        time=TimeFacts(hour=10, weekday=2, date="2026-11-24", day=20261124, holiday=False, shifts=("day",)),
        situation="normal",
        grants=(),
        target=TargetFacts(app="ehr", route="ehr.chart", action="read", sensitivity="normal", patient="p001"),
    )
    for name, change in parts.items():
        value = msgspec.structs.replace(getattr(plain, name), **change) if isinstance(change, dict) else change
        plain = msgspec.structs.replace(plain, **{name: value})
    return plain


# ---------------------------------------------------------------- strategies

_ROLES = ["physician", "nurse", "pharmacist", "clerk", "vendor", "security_officer", "auditor", "unknown"]
_TARGETS = [
    ("ehr", "ehr.home", "read", "normal"),
    ("ehr", "ehr.chart", "read", "normal"),
    ("ehr", "ehr.upload", "write", "normal"),
    ("ehr", "ehr.prescribe", "write", "high"),
    ("imaging", "imaging.study", "read", "normal"),
    ("console", "console.home", "read", "normal"),
    ("console", "console.revoke", "administer", "normal"),
    ("console", "console.export", "export", "normal"),
]
_ages = st.one_of(st.integers(0, 1000), st.sampled_from([299, 300, 301, 10**6]))


@st.composite
def authentications(draw: st.DrawFn) -> AuthenticationFacts:
    """What `gateway.pipeline` could say of a session: consistent kinds, factors and ages."""
    kinds: tuple[AuthKind, ...] = tuple(sorted(draw(st.sets(st.sampled_from(get_args(AuthKind)), min_size=1))))
    age = draw(_ages)
    return AuthenticationFacts(
        kinds=kinds,
        factors=count_factors(kinds),
        phishing_resistant="fido2" in kinds,
        age_seconds=age,
        key_touch_age_seconds=age + draw(_ages) if "fido2" in kinds else None,
    )


@st.composite
def _attributes(draw: st.DrawFn) -> dict[str, Any]:
    """Some attributes of a device's state, each with its age."""
    said: dict[str, Any] = {}
    for name in draw(st.sets(st.sampled_from(get_args(PostureName)))):
        said |= {name: draw(st.booleans()), f"{name}_age_seconds": draw(_ages)}
    return said


@st.composite
def devices(draw: st.DrawFn) -> DeviceFacts:
    """A registered device in any state, or none."""
    if not draw(st.booleans()):
        return DeviceFacts(
            registered=False, compliant=False, evidence="none", evidence_strength=0, ownership="", compliance_age_seconds=None
        )
    strength = draw(st.integers(1, 3))
    owners: tuple[Ownership, ...] = ("hospital", "personal", "vendor")
    return DeviceFacts(
        registered=True,
        compliant=draw(st.booleans()),
        evidence=EVIDENCE[strength],
        evidence_strength=strength,
        ownership=draw(st.sampled_from(owners)),
        compliance_age_seconds=draw(st.one_of(st.none(), _ages)),
        **draw(_attributes()),
    )


@st.composite
def targets(draw: st.DrawFn) -> TargetFacts:
    """One of the demo's routes, or any action anywhere."""
    if draw(st.integers(0, 3)):
        return msgspec.convert(
            dict(zip(("app", "route", "action", "sensitivity"), draw(st.sampled_from(_TARGETS)), strict=True))
            | {"patient": draw(st.sampled_from(["", "p001"]))},
            TargetFacts,
        )
    return TargetFacts(
        app=draw(st.sampled_from(["ehr", "imaging", "console", "portal"])),
        route="any",
        action=draw(st.sampled_from(get_args(Action))),
        sensitivity=draw(st.sampled_from(get_args(Sensitivity))),
        patient="",
    )


def _proofing(result: tuple[int, str, int], expires_in_days: int | None, bound: bool) -> ProofingFacts:
    level, method, age_days = result
    if level == 0:
        return ProofingFacts(level=level, method=method, age_days=age_days)
    return ProofingFacts(
        level=level, method=method, age_days=age_days, expires_in_days=expires_in_days, authenticator_bound=bound
    )


def all_facts() -> st.SearchStrategy[Facts]:
    """Facts that could come from a real request to the demo's apps."""
    proofing = st.sampled_from([(0, "", 0), (1, "email", 5), (2, "in_person_ic", 100), (3, "jpki_sign", 1)])
    return st.builds(
        Facts,
        principal=st.builds(
            PrincipalFacts,
            id=st.just("usr_1"),
            roles=st.lists(st.sampled_from(_ROLES), max_size=2, unique=True).map(tuple),
            organization=st.sampled_from(["", "第一病院"]),
        ),
        authentication=authentications(),
        proofing=st.builds(_proofing, proofing, st.sampled_from([None, 0, 400]), st.booleans()),
        device=devices(),
        network=st.builds(NetworkFacts, zone=st.sampled_from(["ward", "other"]), tls=st.booleans()),
        time=st.builds(
            TimeFacts,
            hour=st.integers(0, 23),
            weekday=st.integers(1, 7),
            date=st.just("2026-11-24"),
            day=st.just(20261124),
            holiday=st.booleans(),
            shifts=st.sets(st.sampled_from(["day", "late", "night"])).map(lambda names: tuple(sorted(names))),
        ),
        situation=st.sampled_from(get_args(Situation)),
        grants=st.sampled_from([(), ("grt_1",)]),
        target=targets(),
    )
