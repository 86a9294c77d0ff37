"""`verified_claims` of an external provider: what counts, for what, and what never does."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rp.verified import MOST_ENTRIES, SKEW_SECONDS, Acceptance, Accepted, claims_request, read_verified
from idp.protocol.requested import parse_claims

NOW = 1_800_000_000.5  # 2027-01-15T08:00:00.5Z
STAFF = "https://partner.example/trust/staff"
ACCEPTANCE = Acceptance(
    accepted=(
        Accepted(trust_framework=STAFF, level=2, method="partner"),
        Accepted(trust_framework=STAFF, assurance_level="ial3", level=3, method="partner-card"),
        Accepted(trust_framework="jp_aml", assurance_level="high", level=2, method="bank"),
    ),
    max_age_days=365,
)


def entry(time: Any = "2027-01-14T08:00:00Z", framework: Any = STAFF, **more: Any) -> dict[str, Any]:
    verification = {"trust_framework": framework, "time": time, **more}
    return {
        "verification": {name: value for name, value in verification.items() if value is not ...},
        "claims": {"name": "佐藤 恵"},
    }


def read(value: Any, **claims: Any) -> Any:
    return read_verified({"iss": "https://idp.partner.example", "verified_claims": value, **claims}, ACCEPTANCE, NOW)


def test_a_mapped_framework_is_a_proofing() -> None:
    found = read(entry(verification_process="txn-7")).proofing
    assert (found.level, found.method, found.verifier, found.transaction) == (
        2, "partner", "https://idp.partner.example", "txn-7",
    )  # fmt: skip
    assert found.verified_at == int(NOW) - 86_400
    assert found.expires_at == found.verified_at + 365 * 86_400


def test_a_mapping_of_this_assurance_level_comes_before_that_of_any() -> None:
    assert read(entry(assurance_level="ial3")).proofing.method == "partner-card"
    assert read(entry(assurance_level="ial2")).proofing.method == "partner"
    assert read(entry(framework="jp_aml", assurance_level="high")).proofing.method == "bank"
    assert read(entry(framework="jp_aml")).proofing is None


def test_of_several_the_strongest_counts_then_the_newest() -> None:
    old, new = entry(time="2026-12-01T00:00:00Z", verification_process="old"), entry(verification_process="new")
    assert read([old, new]).proofing.transaction == read([new, old]).proofing.transaction == "new"
    strong = entry(time="2026-12-01T00:00:00Z", assurance_level="ial3", verification_process="strong")
    assert read([new, strong]).proofing.transaction == "strong"
    assert read([entry(framework="eidas"), new]).proofing.transaction == "new", "what is not mapped stands beside it"


@pytest.mark.parametrize(
    "value",
    [
        entry(framework="https://elsewhere.example/x"), entry(framework=STAFF + "/"), entry(framework=STAFF.upper()),
        entry(time=...), entry(time=None), entry(time="2026-01-15T08:00:00Z"), entry(time="1960-01-01T00:00:00Z"),
        [entry(framework="eidas"), entry(time=...)],
    ],
    ids=["other", "slash", "case", "timeless", "null", "too-old", "ancient", "none-of-two"],
)  # fmt: skip
def test_what_is_not_mapped_or_too_old_is_no_proofing_and_says_so(value: Any) -> None:
    found = read(value)
    assert found.proofing is None
    assert "no entry" in found.problem


@pytest.mark.parametrize(
    "value",
    [
        "x", 5, True, [], {}, [[]], [None], entry() | {"claims": {}}, entry() | {"claims": []}, entry() | {"verification": []},
        {"verification": {"trust_framework": STAFF}}, entry(framework=5), entry(framework=""), entry(framework=["x"]),
        entry(framework="x" * 257), entry(assurance_level=3), entry(assurance_level=None), entry(verification_process=5),
        entry(verification_process="p" * 300), entry(time=1_799_000_000), entry(time="yesterday"), entry(time="2027-01-14"),
        entry(time="2027-01-14T08:00:00"), entry(time="2027-02-30T08:00:00Z"), entry(time="2027-01-14T08:00:00+99:99"),
        entry(time="٢٠٢٧-01-14T08:00:00Z"), entry(time=" 2027-01-14T08:00:00Z"), entry(time="9999-12-31T23:59:59Z"),
        entry(time="2027-01-15T08:02:00Z"), [entry(), "x"], [entry(), entry(time="soon")], [entry()] * (MOST_ENTRIES + 1),
    ],
    ids=lambda value: json.dumps(value, ensure_ascii=True)[:60],
)  # fmt: skip
def test_what_is_malformed_makes_all_of_it_none(value: Any) -> None:
    found = read(value)
    assert found.proofing is None
    assert found.problem
    assert "佐藤" not in found.problem


def test_a_clock_may_be_a_little_ahead() -> None:
    assert SKEW_SECONDS >= 50
    assert read(entry(time="2027-01-15T08:00:50Z")).proofing is not None
    assert read(entry(time="2027-01-15T17:00:50+09:00")).proofing.verified_at == int(NOW) + 50


def test_claims_of_others_that_the_token_points_to_are_not_looked_at() -> None:
    """Aggregated and distributed claims, OpenID Connect Core 1.0 §5.6.2."""
    sources = {
        "_claim_names": {"verified_claims": ["src1"]},
        "_claim_sources": {"src1": {"JWT": "x.y.z", "verified_claims": entry(), "endpoint": "https://evil.example/"}},
    }
    claims = {"iss": "i", **sources}
    assert read_verified(claims, ACCEPTANCE, NOW) == read_verified({"iss": "i"}, ACCEPTANCE, NOW)
    assert read_verified(claims, ACCEPTANCE, NOW).proofing is None


def test_no_claim_is_no_problem() -> None:
    assert read(None) == read_verified({}, ACCEPTANCE, NOW)
    assert read(None).problem == ""


def test_the_request_is_one_that_a_provider_of_this_kind_understands() -> None:
    asked = parse_claims(claims_request(ACCEPTANCE)).id_token
    assert asked.many
    assert [wish.verification["trust_framework"].values for wish in asked.verified] == [(STAFF,), ("jp_aml",)]
    assert all("time" in wish.verification and list(wish.claims) == ["name"] for wish in asked.verified)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
    | st.sampled_from([STAFF, "2027-01-14T08:00:00Z", "2030-01-14T08:00:00Z", "ial3"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["verification", "claims", "trust_framework", "time", "assurance_level", "verification_process", "x"]),
        inner, max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip


@given(anything)
def test_whatever_comes_is_read_or_named_a_problem(value: Any) -> None:
    found = read(value)
    assert found.proofing is None or found.problem == ""
    if found.proofing is not None:
        assert found.proofing.level in {2, 3}
        assert found.proofing.verified_at <= NOW + SKEW_SECONDS < found.proofing.expires_at
        assert msgspec.json.encode(found.proofing)
