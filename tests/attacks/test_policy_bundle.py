"""Bundles that are wrong on purpose. Each is refused with a place and what to do, or does what a reader would expect."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.kernel.errors import BundleError
from gateway.policy.bundle import load_bundle
from gateway.policy.folder import MAX_FILE_BYTES, MAX_TOTAL_BYTES
from gateway.policy.holder import PolicyHolder, Rejected
from gateway.policy.source import MAX_DEPTH, MAX_OPERATORS
from tests.support.policy import STARTER, bundle, facts, policy, write_bundle


def refused(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    assert caught.value.where
    assert caught.value.todo
    message = str(caught.value)
    assert message.isprintable()
    return message


# ---------------------------------------------------------------- what a reader does not see


def test_a_carriage_return_does_not_smuggle_a_policy_out_of_a_comment(tmp_path: Path) -> None:
    """Cedar ends a comment at a bare CR; an editor shows one comment line."""
    hidden = policy("all", "true", scope="principal, action, resource").replace("\n", " ")
    folder = write_bundle(tmp_path / "b", policy())
    (folder / "z.cedar").write_bytes(b"// harmless \r" + hidden.encode())
    assert "z.cedar:1: a control character, U+000D" in refused(folder)


@pytest.mark.parametrize(
    ("char", "name"),
    [
        ("\u202e", "RIGHT-TO-LEFT OVERRIDE"),
        ("\u2066", "LEFT-TO-RIGHT ISOLATE"),
        ("\u200b", "ZERO WIDTH SPACE"),
        ("\u00ad", "SOFT HYPHEN"),
        ("\ufeff", "ZERO WIDTH NO-BREAK SPACE"),
        ("\u2028", "LINE SEPARATOR"),
        ("\x00", "U+0000"),
        ("\x1b", "U+001B"),
        ("\x85", "U+0085"),
        ("\x0c", "U+000C"),
    ],
)
@pytest.mark.parametrize("place", ["// comment {}\n", '@title_ja("{}題")', 'when {{ context.network.zone == "{}" }}'])
def test_invisible_characters_are_refused_anywhere(tmp_path: Path, char: str, name: str, place: str) -> None:
    folder = write_bundle(tmp_path / "b", policy())
    (folder / "z.cedar").write_text("\n" + place.format(char) + policy("z"), "utf-8")
    message = refused(folder)
    assert "z.cedar:2:" in message
    assert name in message


@pytest.mark.parametrize("escape", ["\\u{202e}", "\\u{200b}", "\\u{1b}", "\\u{feff}", "\\0"])
def test_invisible_characters_in_titles_are_refused_when_escaped_too(tmp_path: Path, escape: str) -> None:
    folder = write_bundle(tmp_path / "b", policy().replace('"Title"', f'"Ti{escape}tle"'))
    assert "a.cedar:3: @title_en holds an invisible character" in refused(folder)


@pytest.mark.parametrize("name", ["еhr-read", "ehr-reаd", "ehr‐read", "ｅｈｒ", "ehr-read\u0301"])
def test_homoglyph_ids_are_refused(tmp_path: Path, name: str) -> None:
    assert "is not an id" in refused(write_bundle(tmp_path / "b", policy(name)))


@pytest.mark.parametrize(
    "role",
    [
        "physiciаn",
        "physici\\u{430}n",
        "ｐhysician",
        "physician\u0301",
        "ﬁeld",
        "phys\\u{200b}ician",
        "phys\\u{202e}ician",
        "ρhysician",
        "ᴘhysician",
    ],
)
def test_homoglyph_names_in_conditions_are_refused(tmp_path: Path, role: str) -> None:
    for text in (policy(when=f'principal in Role::"{role}"'), policy(scope=f'principal in Role::"{role}", action, resource')):
        message = refused(write_bundle(tmp_path / "b", text))
        assert "looks like something else" in message or "is not in its plain form" in message or "invisible" in message


def test_japanese_names_are_fine() -> None:
    made = bundle(policy(when='principal in Organization::"第一病院" && context.network.zone != "ナースステーション"'))
    assert made.evaluate(facts()).allowed


# ---------------------------------------------------------------- what would break the reader

DEEP = {
    "brackets": ("(", "true", ")", ""),
    "sets": ("[", "1", "]", " == 1"),
    "records": ("{a:", "1", "}", " == 1"),
    "nots": ("!(", "true", ")", ""),
    "calls": ("context.grants.contains(", "1", ")", ""),
}


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 1_000, 30_000])
def test_deep_nesting_is_refused_before_cedar_overflows_the_stack(kind: str, depth: int) -> None:
    opening, middle, closing, rest = DEEP[kind]
    with pytest.raises(BundleError, match=r"nest deeper|more than \d+ operators"):
        bundle(policy(when=opening * depth + middle + closing * depth + rest))


@pytest.mark.parametrize("operators", [MAX_OPERATORS + 1, 20_000])
def test_long_chains_are_refused_before_cedar_overflows_the_stack(operators: int) -> None:
    for text in ("true" + " || true" * operators, "context" + ".a" * operators, "if true then true else " * operators + "true"):
        with pytest.raises(BundleError, match="more than"):
            bundle(policy(when=text))


_AT_THE_LIMIT = """
import sys, threading
threading.stack_size(2 * 1024 * 1024)
from gateway.kernel.errors import BundleError
from gateway.policy.source import MAX_DEPTH, MAX_OPERATORS
from tests.support.policy import bundle, facts, policy
depth, chain = MAX_DEPTH - 2, MAX_OPERATORS - 8
texts = [
    "(" * depth + "true" + ")" * depth, "[" * depth + "1" + "]" * depth + " == 1", "{a:" * depth + "1" + "}" * depth + " == 1",
    "!(" * depth + "true" + ")" * depth, "context.grants" + ".contains(context.grants" * depth + ")" * depth,
    "true" + " || true" * chain, "true" + " && true" * chain, "1" + " + 1" * chain + " > 1", "1" + " * 1" * chain + " > 1",
    "context" + ".a" * chain, "context" + '["a"]' * chain, "if true then true else " * (chain // 3) + "true",
    "(" * depth + "true" + " || true" * chain + ")" * depth,
]
def run():
    for text in texts:
        try:
            bundle(policy(when=text)).evaluate(facts())
        except BundleError:
            pass  # not typed, or deeper than Cedar's nodes may be: refused, which is fine
    print("alive")
worker = threading.Thread(target=run); worker.start(); worker.join()
"""


def test_what_the_limits_let_through_fits_the_smallest_usual_stack() -> None:
    """2 MiB: what threads get where the stack limit is unlimited. Elsewhere they get 8 MiB. A crash would end the gateway."""
    done = subprocess.run([sys.executable, "-c", _AT_THE_LIMIT], cwd=STARTER.parent, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "alive\n", "")


def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b", policy())
    (folder / "z.cedar").write_bytes("// 医師\n// 医師\n".encode("shift_jis"))
    assert "z.cedar:1: byte 0x88 is not UTF-8. Save the file as UTF-8" in refused(folder)
    (folder / "z.cedar").write_bytes("permit".encode("utf-16"))
    assert "z.cedar:1: byte 0xff is not UTF-8" in refused(folder)


def test_huge_files_are_refused_without_reading_them(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b", policy())
    with (folder / "z.cedar").open("wb") as file:
        file.truncate(50 * 1024**3)  # sparse
    assert f"z.cedar: larger than {MAX_FILE_BYTES // 1024} KiB" in refused(folder)


def test_many_large_files_are_refused_together(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b", policy())
    for index in range(MAX_TOTAL_BYTES // MAX_FILE_BYTES + 1):
        (folder / f"z{index}.cedar").write_bytes(b"/" * MAX_FILE_BYTES)
    assert f"the bundle is larger than {MAX_TOTAL_BYTES // 1024} KiB" in refused(folder)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["fifo", "folder", "loop", "self", "outside", "outside-relative", "device"])
def test_a_policy_file_that_is_none_is_refused_and_never_waited_for(tmp_path: Path, kind: str) -> None:
    folder = write_bundle(tmp_path / "b", policy())
    (tmp_path / "elsewhere.cedar").write_text(policy("elsewhere"))
    file = folder / "z.cedar"
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "loop":
        file.symlink_to("y.cedar")
        (folder / "y.cedar").symlink_to("z.cedar")
    else:
        file.symlink_to(
            {
                "self": "z.cedar",
                "outside": str(tmp_path / "elsewhere.cedar"),
                "outside-relative": "../elsewhere.cedar",
                "device": "/dev/zero",
            }[kind]
        )
    message = refused(folder)
    assert any(
        text in message for text in ("not a regular file", "links in a circle", "leads out of the folder", "symbolic links")
    )


def test_a_cases_folder_that_leads_out_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b", policy(), cases=None)
    other = write_bundle(tmp_path / "other", policy())
    (folder / "cases").symlink_to(other / "cases")
    assert "leads out of the folder" in refused(folder)


def test_a_file_name_can_not_carry_escapes_into_the_log(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b", policy())
    (folder / "z\x1b[2J.cedar").write_text(policy("z"))
    assert "'z\\x1b[2J.cedar' is not plain ASCII" in refused(folder)


# ---------------------------------------------------------------- what would quietly change who gets in


def test_a_truncated_file_never_takes_a_forbid_out_of_force(tmp_path: Path) -> None:
    """Cut off in a policy, the file is refused. Cut off between two, it reads well: then the cases say no."""
    folder = tmp_path / "policies"
    subprocess.run(["cp", "-r", STARTER, folder], check=True)
    holder = PolicyHolder.open(folder)
    before = holder.current
    data = (folder / "guards.cedar").read_bytes()
    for cut in range(0, len(data) - 2, 97):
        (folder / "guards.cedar").write_bytes(data[:cut])
        holder.reload()
        assert holder.current is before
        assert holder.rejected is not None
    boundary = data.index(b"};") + 2
    (folder / "guards.cedar").write_bytes(data[:boundary])
    load_bundle(folder)  # reads well
    outcome = holder.reload()
    assert isinstance(outcome, Rejected)
    assert "cases fail" in str(outcome.error)
    assert holder.current is before


def test_an_empty_bundle_is_invalid_and_never_everything(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "policies", policy())
    holder = PolicyHolder.open(folder)
    before = holder.current
    for content in ("", "\n\n", "// nothing\n", ";"):
        (folder / "a.cedar").write_text(content)
        assert isinstance(holder.reload(), Rejected) or holder.rejected is not None
    (folder / "a.cedar").unlink()
    assert isinstance(holder.reload(), Rejected)
    assert holder.current is before


def test_another_schema_can_not_make_up_facts(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b", policy(when="context.is_admin"))
    schema = folder / "schema.cedarschema"
    schema.write_text(schema.read_text().replace("situation: String", "is_admin: Bool, situation: String"))
    assert "`is_admin` stands where this version has `situation`" in refused(folder)


def test_a_deep_schema_is_compared_and_never_parsed(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b", policy())
    (folder / "schema.cedarschema").write_text("entity A { a: " + "{ a: " * 30_000)
    assert "`A` stands where this version has `Role`" in refused(folder)


@pytest.mark.parametrize("extra", ['@mode("report_only")', '@Mode("report-only")', '@report("only")', '@mode("Report-Only")'])
def test_a_misspelt_mode_does_not_silently_change_what_is_enforced(tmp_path: Path, extra: str) -> None:
    assert "is not known" in refused(write_bundle(tmp_path / "b", policy() + policy("stop", effect="forbid", more=extra + "\n")))
