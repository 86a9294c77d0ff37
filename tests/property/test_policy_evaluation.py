"""Evaluation is total, and report-only policies answer as if they were enforced."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.kernel.errors import BundleError
from gateway.policy.bundle import load_bundle
from gateway.policy.compile import SCHEMA_FILE, compile_bundle, problems_of
from gateway.policy.evaluate import Bundle, facts_of_record
from gateway.policy.facts import Facts
from gateway.policy.schema import cedar_schema
from tests.support.policy import STARTER, all_facts, bundle, policy

BUNDLE = load_bundle(STARTER)


def attempt(files: dict[str, bytes]) -> tuple[Bundle | None, tuple[BundleError, ...]]:
    try:
        return compile_bundle(files, "f"), ()
    except BundleError as error:
        return None, problems_of(error)


CONDITIONS = (
    "context.network.tls",
    'principal in Role::"physician"',
    "context.time.hour < 12",
    "context.proofing.level >= 2",
    "context.proofing.age_days + 9223372036854775807 > 0",
    "context.device.registered",
)


@settings(max_examples=300, deadline=None)
@given(all_facts())
def test_the_answer_is_one_of_three_and_explains_itself(facts: Facts) -> None:
    answer = BUNDLE.evaluate(facts)
    assert not (answer.allowed and answer.forbidden)
    assert bool(answer.policies) == (answer.allowed or answer.forbidden)
    assert answer.errors == ()
    effects = {known.effect for name in answer.policies if (known := BUNDLE.policy(name))}
    assert effects == ({"permit"} if answer.allowed else {"forbid"} if answer.forbidden else set())
    if not facts.principal.roles:
        assert not answer.allowed


@settings(max_examples=100, deadline=None)
@given(all_facts())
def test_a_decision_can_be_made_again_from_its_record(facts: Facts) -> None:
    again = facts_of_record(msgspec.json.decode(msgspec.json.encode(facts)))
    assert again == facts
    assert BUNDLE.evaluate(again) == BUNDLE.evaluate(facts)


marked_policies = st.lists(
    st.tuples(st.sampled_from(["permit", "forbid"]), st.sampled_from(CONDITIONS), st.booleans()), min_size=1, max_size=5
)


@settings(max_examples=200, deadline=None)
@given(marked_policies, all_facts())
def test_report_only_answers_as_if_enforced(rules: list[tuple[str, str, bool]], facts: Facts) -> None:
    def made(*, enforce: bool) -> Any:
        texts = [policy("base", 'principal in Role::"nurse"')]
        for index, (effect, condition, marked) in enumerate(rules):
            more = '@mode("report-only")\n' if marked and not enforce else ""
            texts.append(policy(f"p{index}", condition, effect=effect, more=more))
        return bundle(*texts)

    answer, enforced = made(enforce=False).evaluate(facts), made(enforce=True).evaluate(facts)
    marked = {f"p{index}" for index, rule in enumerate(rules) if rule[2]}
    if not marked:
        assert answer.report_only is None
        assert answer == enforced
        return
    assert answer.report_only.allowed == enforced.allowed
    assert set(answer.report_only.policies) == {name for name in enforced.policies if name in marked}
    assert not marked & set(answer.policies)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400))
def test_broken_bytes_are_refused_and_never_crash(noise: bytes, place: int) -> None:
    good = (STARTER / "ehr.cedar").read_bytes()
    data = good[:place] + noise + good[place:]
    made, problems = attempt({SCHEMA_FILE: cedar_schema().encode(), "a.cedar": data})
    assert all(problem.where.startswith("f/a.cedar") and problem.todo for problem in problems)
    # What is read in spite of it is noise in a comment or text: the policies are there all the same.
    assert made is None or len(made.policies) == sum(one.file.endswith("/ehr.cedar") for one in BUNDLE.policies)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 100))
def test_a_truncated_file_is_refused_or_whole(cut: int) -> None:
    good = (STARTER / "guards.cedar").read_bytes()
    data = good[: len(good) * cut // 100]
    made, _ = attempt({SCHEMA_FILE: cedar_schema().encode(), "a.cedar": policy().encode(), "g.cedar": data})
    if made is not None:
        # Cut off exactly between two policies: every one that is there is there to its end.
        assert len(made.policies) == 1 + data.count(b"\n};")
