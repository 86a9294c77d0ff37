"""Filled-in templates that are wrong on purpose, bundles that are too large, and circles wherever something names something."""

from pathlib import Path

import msgspec
import pytest

from gateway.changes.checking import check_files
from gateway.kernel.errors import BundleError
from gateway.policy.bundle import load_bundle
from gateway.policy.case_files import parse_cases
from gateway.policy.compile import MAX_POLICIES, SCHEMA_FILE, compile_bundle, problems_of
from gateway.policy.facts import Facts
from gateway.policy.folder import MAX_TOTAL_BYTES
from gateway.policy.holder import PolicyHolder, Rejected
from gateway.policy.links import LINKS_FILE, read_links
from gateway.policy.schema import cedar_entities, cedar_schema
from gateway.policy.templates import FormRefused, add_link
from tests.support.policy import facts, facts_toml, policy, write_bundle

TEMPLATE = """
@id("t")
@title_ja("{zone}だけ")
@title_en("Only {zone}")
@value_resource("app; アプリ; Application")
@value_zone("zone; 区域; Zone")
forbid (principal, action, resource in ?resource)
unless { context.network.zone == ?zone };
"""
LINK = '[[link]]\nid = "a"\ntemplate = "t"\nresource = "ehr"\nvalues = { zone = "ward" }\n'


def given(links: str | bytes = LINK, template: str = TEMPLATE) -> dict[str, bytes]:
    return {
        SCHEMA_FILE: cedar_schema().encode(),
        "a.cedar": policy(when="context.device.registered").encode(),
        "t.cedar": template.encode(),
        LINKS_FILE: links if isinstance(links, bytes) else links.encode(),
    }


def refused(links: str | bytes, template: str = TEMPLATE) -> str:
    with pytest.raises(BundleError) as caught:
        compile_bundle(given(links, template), "b")
    for problem in problems_of(caught.value):
        assert problem.where.startswith("b")
        assert problem.todo
        assert str(problem).isprintable()
    checked, bundle = check_files(given(links, template), ())
    assert not checked.good
    assert bundle is None
    return str(caught.value)


# ---------------------------------------------------------------- text that is more than it looks

NAMES = {
    "a Cyrillic letter": ("wаrd", "U+0430 CYRILLIC SMALL LETTER A"),
    "full width": ("ｗard", "is not in its plain form"),
    "combining": ("ward\u0301", "looks like something else"),
    "right to left": ("\u05d5ard", "looks like something else"),
    "an override": ("wa\\u202erd", "invisible character"),
    "an isolate": ("wa\\u2066rd", "invisible character"),
    "zero width": ("wa\\u200brd", "invisible character"),
    "a line break": ("wa\\nrd", "invisible character"),
    "NUL": ("wa\\u0000rd", "invisible character"),
    "a private character": ("wa\\ue000rd", "invisible character"),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ['resource = "ehr"', 'zone = "ward"'])
def test_homoglyphs_and_overrides_in_values(name: str, place: str) -> None:
    text, said = NAMES[name]
    key = place.partition(" ")[0]
    assert said in refused(LINK.replace(place, f'{key} = "{text}"'))


@pytest.mark.parametrize("key", ["title_ja", "title_en"])
@pytest.mark.parametrize("escape", ["\\u202e", "\\u2067", "\\u200f", "\\u200b", "\\u0007", "\\ufeff", "\\n"])
def test_overrides_in_titles(key: str, escape: str) -> None:
    assert f"@{key} holds an invisible character" in refused(f'{LINK}{key} = "safe{escape}efas"\n')


@pytest.mark.parametrize("char", ["\u202e", "\u200b", "\x00", "\x0b", "\u2028", "\ufeff"])
def test_invisible_characters_in_the_file_itself(char: str) -> None:
    assert "b/links.toml:1: " in refused(f"# {char}\n{LINK}")


@pytest.mark.parametrize("label", ["アプ\u202eリ", "", "x" * 81])
def test_labels_of_forms(label: str) -> None:
    assert "b/t.cedar" in refused(LINK, TEMPLATE.replace("アプリ", label))


@pytest.mark.parametrize("name", ["а", "A", "a--b", "a.b", "a" * 65, "-a", "", "a\\u200b"])
def test_ids_that_are_none(name: str) -> None:
    assert "b/links.toml:1: " in refused(LINK.replace('id = "a"', f'id = "{name}"'))


@pytest.mark.parametrize(
    "value",
    [
        'x" || true || "',
        '" }; permit(principal, action, resource); //',
        "?zone",
        "?resource",
        "*/ //",
        "\\\\",
        "{zone}",
        "App::other",
        "1 + 9223372036854775807",
    ],
)
def test_policy_text_in_a_value_is_a_text(value: str) -> None:
    """It is compared with the zone, letter by letter, and does nothing else."""
    made = compile_bundle(given(LINK.replace('"ward"', msgspec.json.encode(value).decode())), "b")
    assert [one.id for one in made.policies] == ["read", "a"]
    assert made.evaluate(facts()).policies == ("a",)
    assert made.evaluate(facts(network={"zone": value})).allowed


def test_policy_text_in_a_form_is_a_text() -> None:
    after = add_link(given(), "t", {"resource": "ehr", "zone": '" }; permit(principal, action, resource); //'})
    assert not compile_bundle(after, "b").evaluate(facts()).allowed
    with pytest.raises(FormRefused):
        add_link(given(), "t", {"resource": "ehr", "zone": 'ward"\n[[link]]'})


# ---------------------------------------------------------------- circles


@pytest.mark.parametrize(
    "links",
    [
        LINK + LINK.replace('"a"', '"b"').replace('template = "t"', 'template = "a"'),  # a link of a link
        LINK.replace('template = "t"', 'template = "a"'),  # of itself
        LINK.replace('"a"', '"b"').replace('template = "t"', 'template = "c"')
        + LINK.replace('"a"', '"c"').replace('template = "t"', 'template = "b"'),  # of each other
    ],
)
def test_links_never_lead_to_links(links: str) -> None:
    assert "is no template but a policy" in refused(links)


def test_dates_that_each_come_after_the_other() -> None:
    circle = TEMPLATE.replace("@value_zone", '@value_a("date >= b; あ; A")\n@value_b("date >= a; い; B")\n@value_zone').replace(
        "?zone }", "?zone && context.time.day > ?a && context.time.day < ?b }"
    )
    dates = '{ zone = "ward", a = "2026-01-02", b = "2026-01-01" }'
    assert "is before" in refused(LINK.replace('{ zone = "ward" }', dates), circle)


def test_bases_of_cases_that_extend_each_other() -> None:
    bases = facts_toml(facts()) + b'\n[base.x]\nextends = "y"\n[base.y]\nextends = "x"\n'
    case = b'[[case]]\nname = "c"\nbase = "x"\ntarget = "ehr.chart"\nexpect = { outcome = "deny", policies = [], remedy = [] }\n'
    with pytest.raises(BundleError, match="circle"):
        parse_cases({"bases.toml": bases, "a.toml": case}, "b")


def test_entities_of_a_request_can_not_go_in_circles() -> None:
    """They are made here, of the facts: a person with roles and an organisation, a route with an application. What has parents
    (User, Route) is of other types than what is a parent (Role, Organization, App), and nobody but the schema says which.
    """
    odd = facts(principal={"id": "ehr", "roles": ("ehr", "ehr.chart"), "organization": "ehr"}, target={"app": "ehr.chart"})
    entities = cedar_entities(odd.principal, odd.target)
    assert entities is not None
    assert compile_bundle(given(), "b").evaluate(odd).allowed
    for line in cedar_schema().splitlines():
        if line.startswith("entity"):
            name, _, parents = line.removeprefix("entity ").partition(" in ")
            assert name.rstrip(";") not in parents
            assert ("Role" in parents or "App" in parents) == (name in {"User", "Route"})
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"principal": {"id": "x", "roles": [{"type": "User"}], "organization": ""}}, Facts)


# ---------------------------------------------------------------- sizes and depths


@pytest.mark.parametrize("name", [LINKS_FILE, "a.cedar", "big.cedar", SCHEMA_FILE])
def test_fifty_megabytes_are_refused_without_being_read(name: str) -> None:
    files = {**given(), name: b"# " + b"x" * (50 << 20)}
    with pytest.raises(BundleError, match=f"larger than {MAX_TOTAL_BYTES // 1024} KiB"):
        compile_bundle(files, "b")
    assert not check_files(files, ())[0].good


def test_a_folder_with_huge_links_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b", policy())
    (folder / LINKS_FILE).write_bytes(b"#" * (50 << 20))
    with pytest.raises(BundleError, match=r"links\.toml: larger than 256 KiB"):
        load_bundle(folder)


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 50_000,
        "x = " + "{ a = " * 20_000,
        "x = " + "[" * 900 + "]" * 900,
        LINK + "values.zone." + ".".join("a" * 30_000) + " = 1\n",
        "[" + ".".join("a" * 30_000) + "]\n",
        'x = ["""\n""", { ' + ".".join("a" * 30_000) + ' = "}]\n',
        "x = 1" + "0" * 100_000,
        LINK.replace('"ward"', "1" + "0" * 5_000),
        LINK.replace('{ zone = "ward" }', "{ zone = " + "[" * 200 + "]" * 200 + " }"),
        LINK.replace('{ zone = "ward" }', '{ zone = { zone = { zone = "ward" } } }'),
    ],
    ids=["arrays", "tables", "balanced", "dotted", "header", "hidden", "number", "digits", "value", "inner"],
)
def test_deep_and_long_toml(text: str) -> None:
    refused(text)


def test_a_deep_template() -> None:
    assert "nest deeper" in refused(LINK, TEMPLATE.replace("?zone }", "?zone && " + "(" * 50 + "true" + ")" * 50 + " }"))


def test_too_many_links() -> None:
    links = "".join(LINK.replace('"a"', f'"a{number}"') for number in range(MAX_POLICIES - 1))
    assert "policies, at most" in refused(links)


def test_too_many_places() -> None:
    many = "".join(f'@value_p{number}("zone; あ; A")\n' for number in range(2_000))
    assert "b/t.cedar" in refused(LINK, TEMPLATE.replace("forbid", many + "forbid"))


# ---------------------------------------------------------------- replaced halfway


def test_links_without_their_templates_are_not_taken(tmp_path: Path) -> None:
    """One file of the new state and one of the old: refused as a whole, and what was in force stays."""
    folder = write_bundle(tmp_path / "b", policy())
    holder = PolicyHolder.open(folder)
    before = holder.current
    (folder / LINKS_FILE).write_text(LINK, "utf-8")
    outcome = holder.reload()
    assert isinstance(outcome, Rejected)
    assert "links.toml:1: there is no template 't'" in str(outcome.error)
    assert holder.current is before
    other = TEMPLATE.replace("{zone}", "{area}").replace("value_zone", "value_area").replace("?zone", "?area")
    (folder / "t.cedar").write_text(other, "utf-8")
    outcome = holder.reload()
    assert isinstance(outcome, Rejected)
    assert "links.toml:1: template t has no ?zone" in str(outcome.error)
    assert holder.current is before


@pytest.mark.parametrize("cut", range(0, len(LINK), 7))
def test_a_links_file_that_is_cut_off_is_refused_or_whole(cut: int) -> None:
    """A forbid of the second link must never quietly be gone."""
    text = LINK + LINK.replace('"a"', '"b"')
    try:
        links = read_links(text[: len(LINK) + cut].encode(), "links.toml")
        made = compile_bundle(given(text[: len(LINK) + cut]), "b")
    except BundleError:
        return
    assert len(made.policies) == 1 + len(links)
    assert text[: len(LINK) + cut].count("[[link]]") == len(links)
