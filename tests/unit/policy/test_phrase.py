"""Conditions as sentences: every fact has words in both languages, and what has none is shown as Cedar text."""

import cedarpy
import pytest
from cedarpy import pst
from hypothesis import given, settings

from gateway.policy.atoms import atom_of
from gateway.policy.bundle import load_bundle
from gateway.policy.cedar_text import cedar_of
from gateway.policy.expression import pst_of, truth_of
from gateway.policy.facts import Facts
from gateway.policy.phrase import conditions_of, phrase, phrases, sentence_of
from gateway.policy.reads import LEAVES
from gateway.policy.schema import closed_words
from gateway.policy.words import TEXTS, fact_names, found, has, name_of, value_at
from tests.property.test_expression import conditions
from tests.support.policy import STARTER, all_facts

BUNDLE = load_bundle(STARTER)


def parsed(condition: str) -> pst.Expr:
    policies = cedarpy.PolicySet.from_str(f"permit (principal, action, resource) when {{ {condition} }};").to_pst()
    return next(iter(policies.static_policies.values())).clauses[0].expr


def test_every_fact_has_words() -> None:
    optional = {name for name, hint in fact_names().items() if type(None) in getattr(hint, "__args__", ())}
    assert set(LEAVES.values()) < set(fact_names())
    for name, hint in fact_names().items():
        keys = [f"fact.{name}"]
        keys += [f"yes.{name}", f"no.{name}"] if hint in {bool, bool | None} else []
        keys += [f"known.{name}", f"unknown.{name}"] if name in optional else []
        keys += [f"some.{name}", f"none.{name}"] if getattr(hint, "__origin__", None) is tuple else []
        keys += [f"event.{name}"] if name.endswith(("age_seconds", "age_days")) else []
        for key in keys:
            assert has(key), key
    for path, words in closed_words().items():
        for word in words - {""}:
            assert has(f"word.{LEAVES[path]}.{word}"), (path, word)


def test_no_words_for_what_is_no_fact() -> None:
    for key in TEXTS.keys():  # noqa: SIM118  a Catalogue is no mapping
        kind, _, name = key.partition(".")
        if kind in {"fact", "yes", "no", "known", "unknown", "some", "none", "event", "includes", "not_includes", "eq", "not_eq"}:
            assert name in fact_names(), key
        elif kind == "word":
            assert name.rpartition(".")[0] in fact_names(), key


@pytest.mark.parametrize(
    ("condition", "en", "ja"),
    [
        ("context.device.registered", "the device is registered", "端末が登録されている"),
        ("!context.device.registered", "the device is not registered", "端末が登録されていない"),
        ("context.device.registered == false", "the device is not registered", "端末が登録されていない"),
        (
            "context.authentication.key_touch_age_seconds < 412",
            "the security key was touched less than 6 min 52 s ago",
            "セキュリティキーに触れてから6分52秒未満である",
        ),
        (
            "300 >= context.authentication.key_touch_age_seconds",
            "the security key was touched at most 5 min ago",
            "セキュリティキーに触れてから5分以内である",
        ),
        (
            "!(context.authentication has key_touch_age_seconds && context.authentication.key_touch_age_seconds < 300)",
            "no security key was touched in this session, or the security key was touched at least 5 min ago",
            "このセッションでセキュリティキーに触れていない、またはセキュリティキーに触れてから5分以上たっている",
        ),
        ("context.proofing.age_days < 1", "the identity was proofed less than 1 day ago", "本人確認をしてから1日未満である"),
        ("context.proofing.level >= 2", "the level of identity proofing is at least 2", "本人確認のレベルが2以上である"),
        (
            'principal in Role::"nurse" || principal in Role::"physician"',
            "the person has the role nurse or physician",
            "利用者の役割が「看護師」または「医師」である",
        ),
        (
            'principal in [Role::"x", Role::"nurse"]',
            "the person has the role “x” or nurse",
            "利用者の役割が「x」または「看護師」である",
        ),
        (
            '[Route::"a", Route::"b"].contains(resource)',
            "the kind of request is “a” or “b”",
            "操作の種類が「a」または「b」である",
        ),
        ('resource.patient != ""', "the patient is given", "患者の指定がある"),
        ("context.grants.isEmpty()", "no grant is in force", "有効な一時許可がない"),
        (
            'context.authentication.kinds.containsAll(["pwd", "otp"])',
            "password and one-time code are all among what was proved at sign-in",
            "サインインで確認したものに「パスワード」と「ワンタイムコード」がすべて含まれる",
        ),
        ("context.time.hour <= 19", "it is before 20:00", "20時より前である"),
        ("context.time.hour == 8", "it is between 8:00 and 9:00", "8時から9時の間である"),
        ("context.time.day >= 20270401", "the date is 2027-04-01 or later", "日付が2027-04-01以降である"),
        (
            "context.time.weekday <= 5",
            "the day of the week is Friday or before",
            "曜日が「金曜日」以前である（週は月曜日から）",
        ),
        (
            'context.network.zone like "ward-*"',
            "the network zone has the form “ward-*”",
            "接続元のネットワークが「ward-*」の形である",
        ),
        (
            'if context.time.holiday then context.network.tls else resource in App::"ehr"',
            "if it is a holiday, then the connection is encrypted; otherwise the application is “ehr”",
            "休日である場合は通信が暗号化されている、そうでない場合はシステムが「ehr」である",
        ),
        (
            "!(true && context.network.tls)",
            "never, or the connection is not encrypted",
            "決して成り立たない、または通信が暗号化されていない",
        ),
    ],
)
def test_sentences(condition: str, en: str, ja: str) -> None:
    said = phrase(parsed(condition))
    assert (said.en, said.ja, said.cedar) == (en, ja, False)


@pytest.mark.parametrize(
    "condition",
    [
        "context.proofing.level + 1 > 2",
        "context.authentication.age_seconds < context.device.compliance_age_seconds",
        'principal == Role::"nurse"',  # never true, and no sentence pretends otherwise
        'resource == App::"ehr"',
        'principal == [User::"a"]',
        "context has device",
        'ip("192.0.2.1").isLoopback()',
    ],
)
def test_what_has_no_words_stands_as_cedar_text(condition: str) -> None:
    said = phrase(parsed(condition))
    assert said.cedar
    assert said.en == f"“{condition}”"
    inside = phrase(parsed(f"context.network.tls || !({condition})"))
    assert inside.cedar
    assert f"“{condition}”" in inside.en
    assert inside.en.startswith("the connection is encrypted, or it is not so that")


def test_nothing_hides_in_a_sentence() -> None:
    said = phrase(parsed('context.network.zone == "a\\u{202e}b\\u{200b}"'))
    assert "\u202e" not in said.ja + said.en
    assert "\\u{202e}" in said.en
    shown = found("principal.roles", ("nurse\u202e", "x" * 500, *map(str, range(30))))
    assert "\u202e" not in shown.ja + shown.en
    assert "20 more" in shown.en
    assert len(shown.en) < 400


def test_the_starter_policies_need_no_cedar_text() -> None:
    for policy in BUNDLE.policies:
        for said in phrases(conditions_of(pst_of(policy))):
            assert not said.cedar, (policy.id, said.en)


@settings(max_examples=300, deadline=None)
@given(conditions)
def test_cedar_text_means_what_it_was_made_from(condition: str) -> None:
    expr = parsed(condition)
    assert parsed(cedar_of(expr)) == expr


@settings(max_examples=300, deadline=None)
@given(conditions, all_facts())
def test_a_condition_and_its_negation_say_opposite_things(condition: str, facts: Facts) -> None:
    expr = parsed(condition)
    atom, other = atom_of(expr), atom_of(expr, negated=True)
    assert (atom is None) == (other is None)
    phrase(expr)  # of anything that parses there is something to say
    if atom is not None and other is not None:
        assert sentence_of(atom) != sentence_of(other)
        if atom.op == "yes":
            wanted = {"true": True, "false": False, "erring": None}[truth_of(expr, facts)[0]]
            assert value_at(facts, atom.fact) is wanted


@settings(max_examples=200, deadline=None)
@given(all_facts())
def test_every_fact_that_was_found_can_be_said(facts: Facts) -> None:
    for name in fact_names():
        said = found(name, value_at(facts, name))
        assert said.ja
        assert said.en
        assert name_of(name).ja
