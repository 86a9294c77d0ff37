"""What a bundle must be, and how each refusal reads."""

import pytest

from gateway.kernel.errors import BundleError
from gateway.policy.compile import MAX_POLICIES, SCHEMA_FILE, BundleProblems, compile_bundle, problems_of, version_of
from gateway.policy.evaluate import Policy
from gateway.policy.schema import cedar_schema
from tests.support.policy import bundle, facts, policy

SCHEMA = cedar_schema().encode()


def errors(*texts: str) -> list[str]:
    with pytest.raises(BundleError) as caught:
        bundle(*texts)
    return [str(problem) for problem in problems_of(caught.value)]


def test_annotations_become_the_policys_fields() -> None:
    more = '@guideline("7.0/ops/14-5, 6.0/ops/7.2.1")\n@lease("2s")\n'
    made = bundle(
        policy("first", more=more), "\n" + policy("second", "context.network.tls", effect="forbid", more='@mode("report-only")\n')
    )
    first, second = made.policies
    assert first == Policy(
        id="first",
        effect="permit",
        title_ja="題",
        title_en="Title",
        guidelines=("7.0/ops/14-5", "6.0/ops/7.2.1"),
        lease_seconds=2,
        file="b/a.cedar",
        line=1,
        text=first.text,
        cedar=first.cedar,
    )
    assert first.text.startswith('@id("first")')
    assert (second.effect, second.report_only, second.line, second.lease_seconds) == ("forbid", True, 9, 0)
    assert made.policy("second") is second
    assert made.policy("third") is None


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('permit(principal in Role::"x",action,resource);', 'b/a.cedar:1: this policy has no @id. Add @id("...") before it'),
        (policy("Ehr-Read"), "b/a.cedar:1: @id('Ehr-Read') is not an id. Use up to 64 of a-z"),
        (policy("a" * 65), "is not an id"),
        (policy("a--b"), "is not an id"),
        (policy(""), "b/a.cedar:1: @id('') is not an id"),
        (policy(more='@titel("x")\n'), "b/a.cedar:4: @titel is not known. Did you mean @title_"),
        (policy(more='@owner("x")\n'), "b/a.cedar:4: @owner is not known. Known: @id, @title_ja"),
        (policy(more='@mode("report_only")\n'), "b/a.cedar:4: @mode('report_only') is not known. Write @mode(\"report-only\")"),
        (policy(more='@mode("enforce")\n'), "@mode('enforce') is not known"),
        (policy(more="@mode\n"), "@mode('') is not known"),
        (
            policy(more='@guideline("7.0/ops/14⑤")\n'),
            "b/a.cedar:4: @guideline('7.0/ops/14\\u2464') is not a clause. Write <version>",
        ),
        (policy(more='@guideline("14-5")\n'), "is not a clause"),
        (policy(more='@guideline("7.0/ops/14-5,")\n'), "is not a clause"),
        (policy(more='@lease("6s")\n'), 'b/a.cedar:4: @lease(\'6s\') is not a lease. Write @lease("1s") to @lease("5s")'),
        (policy(more='@lease("0s")\n'), "is not a lease"),
        (policy(more='@lease("٣s")\n'), "is not a lease"),
        (policy().replace('@title_en("Title")', '@title_en(" ")'), "b/a.cedar:3: @title_en is empty or longer than 200"),
        (policy().replace('@title_ja("題")\n', ""), "b/a.cedar:1: this policy has no @title_ja"),
        (policy(more='@id("again")\n'), "b/a.cedar:1: duplicate annotation: @id"),
    ],
)
def test_wrong_annotations_are_refused(text: str, error: str) -> None:
    (found,) = [message for message in errors(text) if error in message]
    assert found


@pytest.mark.parametrize(
    ("condition", "error"),
    [
        (
            "context.authentication.key_touch_age_seconds < 300",
            "It may be unknown: write context.authentication has key_touch_age_seconds && ...",
        ),
        ("context.device.complaint", "b/a.cedar:5: attribute `device.complaint` not found. Did you mean compliant?"),
        ("context.device has tpm && context.network.tls", "b/a.cedar:5: context.device never has tpm"),
        ("context has devices && context.network.tls", "context never has devices. Did you mean device?"),
        ("context has device.tpm && context.network.tls", "context.device never has tpm"),
        (
            'context.device.evidence == "cert"',
            'b/a.cedar:5: context.device.evidence is never "cert". It is one of: certificate, cookie',
        ),
        ('context.situation != "emergancy"', 'context.situation is never "emergancy". Did you mean "emergency"?'),
        ('context.authentication.kinds.contains("FIDO2")', 'context.authentication.kinds is never "FIDO2"'),
        ('["normal", "hihg"].contains(resource.sensitivity)', 'resource.sensitivity is never "hihg". Did you mean "high"?'),
        ('context.proofing.level >= "2"', "unexpected type: expected Long but saw String"),
        ("context.proofing.level", "unexpected type: expected Bool but saw Long"),
        ('principal in Rolle::"x"', "unrecognized entity type `Rolle`"),
        ("context.grants == []", "empty set literals are forbidden"),
        ("nonsense(1)", "b/a.cedar:5: `nonsense` is not a valid function"),
        ("context.network.tls &&", "b/a.cedar:5: unexpected token `}`"),
        ("context.proofing.level > 99999999999999999999", "integer parse error"),
        ("!!!!!context.network.tls", "too many occurrences of `!`"),
    ],
)
def test_conditions_that_can_not_stand_are_refused(condition: str, error: str) -> None:
    assert any(error in message for message in errors(policy(when=condition))), errors(policy(when=condition))


def test_the_line_of_a_syntax_error_is_the_offending_tokens() -> None:
    text = policy("good") + policy("bad", "context.network.tls").replace("resource)", "\n\nresource of\n)")
    (error,) = errors(text)
    assert error.startswith("b/a.cedar:10: unexpected token `of`")


@pytest.mark.parametrize(
    "wrong",
    [
        'context.authentication.factors >= "2"',
        "context.device.registered == 3",
        'principal in Role::"x" && context.authentication.kinds.contains(3)',
        '(context.network.tls || resource == Rolle::"x")',
        "context.proofing.level || context.network.tls",
    ],
)
@pytest.mark.parametrize("word", ["when", "unless"])
def test_the_line_of_a_wrong_type_is_that_of_its_condition(wrong: str, word: str) -> None:
    lines = f"context.device.registered &&\n  {wrong} &&\n  context.network.tls"
    text = policy("good") + policy("bad", f"context.device.compliant }} {word} {{\n  {lines}")
    first = text[: text.index(wrong)].count("\n") + 1
    found = errors(text)
    assert found
    assert {message.partition(": ")[0] for message in found} == {f"b/a.cedar:{first}"}


def test_a_wrong_type_that_no_condition_has_by_itself_is_said_of_the_policy() -> None:
    (error,) = errors(policy("bad", "context.network.tls\n && context.grants == []"))
    assert error.startswith("b/a.cedar:6: empty set literals are forbidden")
    many = " &&\n".join(["true"] * 66 + ["context.proofing.level"])
    (error,) = errors(policy("bad", many))
    assert error.startswith("b/a.cedar:1: unexpected type")


def test_a_problem_of_every_action_is_told_once() -> None:
    found = errors(policy(when="context.foo", scope="principal, action, resource"))
    assert found == ["b/a.cedar:5: attribute `foo` not found. policies/README.md lists what policies can read"]


def test_all_problems_of_a_bundle_are_told() -> None:
    with pytest.raises(BundleProblems) as caught:
        bundle(policy("one", "context.foo"), policy("two", "context.bar"), policy("two"), policy("Three"))
    assert len(caught.value.problems) == 3
    assert "(and 2 more problems)" in str(caught.value)


def test_an_id_is_used_once_in_the_whole_bundle() -> None:
    files = {SCHEMA_FILE: SCHEMA, "a.cedar": policy("x").encode(), "b.cedar": b"\n" + policy("x").encode()}
    with pytest.raises(BundleError, match=r'f/b\.cedar:2: @id\("x"\) is used twice, first at f/a\.cedar:1'):
        compile_bundle(files, "f")


def test_a_permit_for_everything_is_refused() -> None:
    assert "this permits everything to everyone" in errors(policy(scope="principal, action, resource"))[0]
    bundle(policy(scope="principal, action, resource", effect="forbid"))


def test_places_that_nothing_describes_are_refused() -> None:
    for name in ("principal", "resource"):
        scope = "principal, action, resource".replace(name, f"{name} in ?{name}")
        error = errors(policy(scope=scope))[0]
        assert error.startswith(f"b/a.cedar:4: nothing says what ?{name} takes. Add @value_{name}")


def test_a_bundle_that_enforces_nothing_is_refused() -> None:
    assert "every policy is report-only" in errors(policy(more='@mode("report-only")\n'))[0]


def test_too_many_policies_are_refused() -> None:
    with pytest.raises(BundleError, match=f"{MAX_POLICIES + 1} policies"):
        bundle(*[policy(f"p{index}") for index in range(MAX_POLICIES + 1)])


@pytest.mark.parametrize(
    ("schema", "error"),
    [
        (None, r"f: there is no schema\.cedarschema\. Copy the one"),
        (b"", r"schema\.cedarschema:1: the file ends too early"),
        (SCHEMA.replace(b"compliant: Bool", b"compliant: Bool, tpm: Bool"), "`tpm` stands where this version has `evidence`"),
        (
            SCHEMA.replace(b"factors: Long", b"factors: String"),
            r"schema\.cedarschema:7: `String` stands where this version has `Long`",
        ),
        (SCHEMA + b"entity More;", "`entity` follows the end of the schema"),
        (SCHEMA[:-40], "the file ends too early"),
    ],
)
def test_another_schema_is_refused(schema: bytes | None, error: str) -> None:
    files = {"a.cedar": policy().encode()} | ({} if schema is None else {SCHEMA_FILE: schema})
    with pytest.raises(BundleError, match=error):
        compile_bundle(files, "f")


def test_layout_and_comments_of_the_schema_are_free() -> None:
    schema = b"// mine\r\n" + SCHEMA.replace(b", ", b",\n\n  // more\n")
    assert compile_bundle({SCHEMA_FILE: schema, "a.cedar": policy().encode()}, "f").evaluate(facts()).allowed


def test_the_version_is_of_names_and_bytes() -> None:
    files = {SCHEMA_FILE: SCHEMA, "a.cedar": policy("a").encode(), "b.cedar": policy("b").encode()}
    version = compile_bundle(files, "f").version
    assert len(version) == 64
    assert compile_bundle(dict(reversed(files.items())), "elsewhere").version == version
    assert compile_bundle(files | {"b.cedar": files["b.cedar"] + b" "}, "f").version != version
    renamed = {name.replace("b.", "c."): data for name, data in files.items()}
    assert compile_bundle(renamed, "f").version != version


def test_moving_bytes_between_names_and_files_changes_the_version() -> None:
    assert len({version_of(files) for files in ({"ab": b"c"}, {"a": b"bc"}, {"a": b"", "bc": b""}, {"abc": b""}, {})}) == 5
