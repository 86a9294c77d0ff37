"""Text, tokens, single policies, lines."""

import pytest
from cedarpy import PolicySet

from gateway.kernel.errors import BundleError
from gateway.policy.source import MAX_DEPTH, MAX_OPERATORS, MAX_TOKENS, decode, printable, split


def fails(text: str) -> str:
    with pytest.raises(BundleError) as caught:
        split(decode(text.encode(), "f"), "f")
    return str(caught.value)


def test_policies_are_split_with_their_lines_and_text() -> None:
    text = (
        '// a comment; with a semicolon\n\n@id("a;b")\npermit (principal, action, resource)\nwhen { true };\n'
        '@id("c") forbid(principal,action,resource);'
    )
    first, second = split(text, "f")
    assert (first.line, second.line) == (3, 6)
    assert first.text.startswith('@id("a;b")\n')
    assert first.text.endswith("true };")
    assert first.line_of("when") == 5
    assert first.line_of("nowhere") == 3
    assert second.text == '@id("c") forbid(principal,action,resource);'


@pytest.mark.parametrize(
    "text",
    [
        'permit(principal in Role::"x", action in [Action::"a", Action::"b"], resource is Route in App::"e");',
        'permit(principal,action,resource) when { -5 < context.n && context["a"].contains("x\\"y; }") };',
        'permit(principal,action,resource) unless { if true then {a: 1, "b": 2}.a == 1 else !(resource like "a*\\u{41}") };',
        "permit(principal,action,resource) when { context.a.b has c.d && 1 + 2 * 3 - 4 <= 5 };",
        'permit(principal,action,resource) when { ip("10.0.0.0/8").isInRange(ip("10.0.0.0/7")) };',
    ],
)
def test_the_tokens_mean_what_the_text_means(text: str) -> None:
    (source,) = split(text, "f")
    assert PolicySet.from_str(source.cedar()).to_pst() == PolicySet.from_str(text).to_pst()


def test_windows_line_ends_are_fine() -> None:
    (source,) = split(decode(b'// x\r\n@id("a")\r\npermit(principal,action,resource);\r\n', "f"), "f")
    assert source.line == 2


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("permit(", "f:1: the policy that begins here never ends (the file stops at line 1). End it with ; or restore"),
        ('permit(principal,action,resource);\n@id("a', "f:2: this text in quotes never ends"),
        ("permit(principal,action,resource};", "f:1: this } closes nothing"),
        ("permit principal);", "f:1: this ) closes nothing"),
        ("permit\u3000(principal,action,resource);", "f:1: U+3000 IDEOGRAPHIC SPACE means nothing here. Use an ordinary space"),
        ("\npеrmit(principal,action,resource);", "f:2: U+0435 CYRILLIC SMALL LETTER IE means nothing here"),
        ("permit(principal,action,resource)?;;; $", "f:1: U+0024 DOLLAR SIGN means nothing here"),
    ],
)
def test_what_does_not_fit_is_said_with_its_line(text: str, error: str) -> None:
    assert fails(text).startswith(error)


def test_the_limits_hold_at_their_edge() -> None:
    def nested(depth: int) -> str:
        return "permit(principal,action,resource) when {" + "(" * (depth - 1) + "true" + ")" * (depth - 1) + "};"

    assert len(split(nested(MAX_DEPTH), "f")) == 1
    assert f"brackets nest deeper than {MAX_DEPTH}" in fails(nested(MAX_DEPTH + 1))

    def chain(operators: int) -> str:
        return "permit(principal,action,resource) when {" + "true" + " || true" * (operators - 1) + "};"

    assert len(split(chain(MAX_OPERATORS), "f")) == 1
    assert f"more than {MAX_OPERATORS} operators" in fails(chain(MAX_OPERATORS + 1))
    assert len(split(chain(MAX_OPERATORS) * 3, "f")) == 3, "each policy counts for itself"
    assert f"more than {MAX_TOKENS} words" in fails("permit(principal, action in [" + "a," * MAX_TOKENS + "], resource);")


def test_messages_can_not_carry_control_characters() -> None:
    assert printable("a\x1b[31m\nb\u202ec") == "a?[31m b?c"
