"""Templates, the links that fill them in, and what a form makes of `links.toml`."""

import difflib
from pathlib import Path

import cedarpy
import pytest
from hypothesis import given, settings

from gateway.kernel.errors import BundleError
from gateway.policy.bundle import load_bundle
from gateway.policy.compile import SCHEMA_FILE, compile_bundle, problems_of
from gateway.policy.evaluate import Bundle
from gateway.policy.facts import Facts
from gateway.policy.folder import read_folder
from gateway.policy.known import Known, KnownRoute
from gateway.policy.linking import linked_by_cedar
from gateway.policy.links import LINKS_FILE, read_links
from gateway.policy.schema import cedar_entities, cedar_request, cedar_schema
from gateway.policy.templates import FormRefused, add_link, change_link, form_of, forms, remove_link, values_of
from tests.support.policy import STARTER, all_facts, facts, policy

TEMPLATE = """
@id("in-period")
@title_ja("{principal}は{from}から{until}まで{resource}を利用できます")
@title_en("{principal} may use {resource} from {from} to {until}")
@guideline("6.0/ops/10-3")
@value_principal("organization; 委託先; Organisation")
@value_resource("app; アプリ; Application")
@value_action("action read write; 操作; Action")
@value_from("date; 開始日; First day")
@value_until("date >= from; 最終日; Last day")
permit (principal in ?principal, action == ?action, resource in ?resource)
when { // ?from is a place, and in a comment it is none; "?until" in a text neither
  context.time.day >= ?from && context.time.day <= ?until && context.network.zone != "?until"
};
"""
LINK = """# who may come
[[link]]
id = "a"
template = "in-period"
principal = "保守会社"
resource = "ehr"
values = { action = "read", from = "2026-12-01", until = "2026-12-31" }
"""


def files(links: str = LINK, *texts: str) -> dict[str, bytes]:
    return {
        SCHEMA_FILE: cedar_schema().encode(),
        "a.cedar": "\n".join([policy("plain", "context.network.tls"), *texts]).encode(),
        "t.cedar": TEMPLATE.encode(),
        LINKS_FILE: links.encode(),
    }


def compiled(links: str = LINK, *texts: str) -> Bundle:
    return compile_bundle(files(links, *texts), "b")


def errors(links: str, *texts: str) -> list[str]:
    with pytest.raises(BundleError) as caught:
        compiled(links, *texts)
    problems = [str(problem) for problem in problems_of(caught.value)]
    assert all(problem.isprintable() and problem.startswith("b/") for problem in problems)
    return problems


def template_errors(*changes: tuple[str, str]) -> list[str]:
    text = TEMPLATE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    with pytest.raises(BundleError) as caught:
        compile_bundle({SCHEMA_FILE: cedar_schema().encode(), "t.cedar": (policy() + text).encode()}, "b")
    return [str(problem) for problem in problems_of(caught.value)]


def changed(old: str, new: str) -> str:
    assert old in LINK
    return LINK.replace(old, new)


# ---------------------------------------------------------------- what comes of it


def test_a_link_is_a_policy_of_the_bundle() -> None:
    bundle = compiled()
    made = bundle.policy("a")
    assert made is not None
    assert (made.effect, made.template, made.guidelines) == ("permit", "in-period", ("6.0/ops/10-3",))
    assert made.title_ja == "保守会社は2026-12-01から2026-12-31までehrを利用できます"
    assert (made.file, made.line) == ("b/links.toml", 2)
    assert dict(made.values)["until"] == "2026-12-31"
    assert 'principal in Organization::"保守会社"' in made.text
    assert "context.time.day >= 20261201" in made.text
    assert '"?until"' in made.text
    assert [template.id for template in bundle.templates] == ["in-period"]
    vendor = facts(principal={"organization": "保守会社"}, time={"day": 20261231, "date": "2026-12-31"}, network={"tls": False})
    assert bundle.evaluate(vendor).policies == ("a",)
    assert not bundle.evaluate(facts(principal={"organization": "保守会社"}, network={"tls": False})).allowed


def test_a_template_without_links_decides_nothing() -> None:
    made = {name: data for name, data in files().items() if name != LINKS_FILE}
    assert [one.id for one in compile_bundle(made, "b").policies] == ["plain"]


def test_a_link_may_have_its_own_titles_clause_and_mode() -> None:
    more = 'title_ja = "工事"\ntitle_en = "Works \\"quoted\\" \\\\ and so on"\nguideline = "7.0/ops/14-5"\nmode = "report-only"\n'
    made = compiled(LINK + more).policy("a")
    assert made is not None
    assert (made.title_ja, made.title_en) == ("工事", 'Works "quoted" \\ and so on')
    assert made.guidelines == ("7.0/ops/14-5",)
    assert made.report_only


STARTER_BUNDLE = load_bundle(STARTER)
_FILES = read_folder(STARTER).policies
_TEMPLATES = {template.id: template for template in STARTER_BUNDLE.templates}
LINKS = [(link, _TEMPLATES[link.template]) for link in read_links(_FILES[LINKS_FILE], LINKS_FILE)]


def test_the_starter_bundle_has_templates_and_links() -> None:
    assert {"vendor-in-period", "touch-before-action", "app-only-from-zone"} <= set(_TEMPLATES)
    assert LINKS


@settings(max_examples=150, deadline=None)
@given(all_facts())
def test_a_compiled_link_answers_as_cedars_own_link(given_facts: Facts) -> None:
    for link, template in LINKS:
        made = STARTER_BUNDLE.policy(link.id)
        assert made is not None
        request, entities = cedar_request(given_facts), cedar_entities(given_facts.principal, given_facts.target)
        ours = cedarpy.is_authorized(request, made.cedar, entities)
        theirs = cedarpy.is_authorized(request, linked_by_cedar(link, template), entities)
        assert (ours.decision, len(ours.diagnostics.reasons), ours.diagnostics.errors) == (
            theirs.decision,
            len(theirs.diagnostics.reasons),
            theirs.diagnostics.errors,
        )


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        (changed('"in-period"', '"in-periode"'), "b/links.toml:2: there is no template 'in-periode'. Did you mean in-period?"),
        (changed('template = "in-period"', 'template = "plain"'), "b/links.toml:2: 'plain' is no template but a policy"),
        (changed('template = "in-period"\n', ""), "b/links.toml:2: this link has no template"),
        (changed('id = "a"', 'id = "A"'), "b/links.toml:2: @id('A') is not an id"),
        (changed('id = "a"', 'id = "plain"'), 'b/links.toml:2: @id("plain") is used twice, first at b/a.cedar:1'),
        (changed('id = "a"', 'id = "in-period"'), 'b/links.toml:2: @id("in-period") is used twice'),
        (changed("principal =", "principle ="), "b/links.toml:2: 'principle' is not known in a link. Did you mean principal?"),
        (changed('principal = "保守会社"\n', ""), "b/links.toml:2: principal (Organisation) is missing"),
        (changed(', until = "2026-12-31"', ""), "b/links.toml:2: until (Last day) is missing. Add it to values"),
        (changed(", until =", ", untill ="), "b/links.toml:2: template in-period has no ?untill. Did you mean until?"),
        (changed('"2026-12-31"', '"2026-11-30"'), "until (2026-11-30) is before from (2026-12-01)"),
        (changed('"2026-12-31"', '"2026-02-30"'), "until: '2026-02-30' is no date"),
        (changed('"2026-12-31"', '"２０２６-12-31"'), "is no date"),
        (changed('"2026-12-31"', "2026-12-31"), 'is not a text in quotes. Write it in "quotes", as "2026-12-01"'),
        (changed('"2026-12-31"', "20261231"), "is not a text in quotes"),
        (changed('"read"', '"raed"'), "action: 'raed' is not known here. It is one of: read, write"),
        (changed('"read"', '"delete"'), "It is one of: read, write"),
        (changed("values = {", "values = [] # {"), "values is no table"),
        (changed('resource = "ehr"', "resource = 3"), "resource is no text"),
        (changed("values = { action", 'values = { principal = "x", action'), "principal does not belong into values"),
        ('link = "a"\n', "links are not a list of tables"),
        ("# nothing\n", "b/links.toml: there is no link in this file"),
        ("[[lnik]]\n" + LINK, "b/links.toml:1: 'lnik' is not known in this file"),
        (LINK + "x = [[[[", "not TOML"),
        (LINK + 'mode = "watch"\n', "@mode('watch') is not known"),
        (LINK + 'guideline = "14-5"\n', "is not a clause"),
        (LINK + LINK, 'b/links.toml:9: @id("a") is used twice, first at b/links.toml:2'),
    ],
)  # fmt: skip
def test_a_link_that_is_wrong_is_refused_with_its_place(links: str, expected: str) -> None:
    found = errors(links)
    assert any(expected in problem for problem in found), found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("еhr", "U+0435 CYRILLIC SMALL LETTER IE"),
        ("eh\\u202er", "invisible character"),
        ("e\\u200bhr", "invisible character"),
        ("ｅｈｒ", 'is not in its plain form. Write "ehr"'),
        (" ehr", "is no name"),
        ("", "is no name"),
        ("x" * 129, "is no name"),
    ],
)
def test_names_that_are_not_what_they_look_like_are_refused(name: str, expected: str) -> None:
    assert any(expected in problem for problem in errors(changed('resource = "ehr"', f'resource = "{name}"')))


def test_a_right_to_left_override_in_a_title_is_refused() -> None:
    assert "@title_en holds an invisible character" in errors(LINK + 'title_en = "a\\u202eb"\n')[0]


def test_policy_text_in_a_value_stays_a_text() -> None:
    """Values are put in as literals, token by token: quotes, brackets and comments in them mean nothing."""
    tricky = 'x\\" || true // ) ; permit(principal, action, resource);'
    made = compiled(changed('principal = "保守会社"', f'principal = "{tricky}"'))
    assert [one.id for one in made.policies] == ["plain", "a"]
    assert not made.evaluate(facts(network={"tls": False}, time={"day": 20261205})).allowed


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (('@value_from("date; 開始日; First day")\n', ""), "b/t.cedar:16: nothing says what ?from takes"),
        (('@value_from("', '@value_form("'), "nothing says what ?from takes"),
        ((">= ?from", ">= 20260101"), "there is no ?from in this template"),
        (('"date; 開始日', '"day; 開始日'), "describes no value"),
        (('"date; 開始日; First day"', '"date"'), "describes no value"),
        (('"date >= from', '"date >= form'), "form is no other date of this template"),
        (('"date >= from', '"date >= until'), "until is no other date of this template"),
        (('"action read write;', '"action read wriet;'), "write the words to choose from"),
        (('"app; アプリ', '"role; アプリ'), "?resource can't take a role. It takes one of: app, route"),
        (("principal in ?principal,", "principal,"), "there is no ?principal in this template"),
        (("?principal", "?organisation"), "nothing says what ?organisation takes"),
        (("{from}から", "{form}から"), "@title_ja names 'form', and there is no such place"),
        (("context.time.day >=", "context.time.dey >="), "b/t.cedar"),
        (('@value_from("date;', '@value_from("zone;'), "b/t.cedar"),
        (('@id("in-period")', '@id("in-period")\n@mode("report-only")'), "a template has no @mode"),
        (('context.network.zone != "?until"', "principal == ?principal"), "found template slot ?principal in a `when` clause"),
    ],
)  # fmt: skip
def test_a_template_that_is_wrong_is_refused(change: tuple[str, str], expected: str) -> None:
    found = template_errors(change)
    assert any(expected in problem for problem in found), found


def test_a_template_needs_a_place_of_cedars_own() -> None:
    head, scope = '@value_zone("zone; 区域; Zone")\n', "principal, action, resource"
    text = policy("t", "context.network.zone == ?zone", effect="forbid", scope=scope, more=head)
    with pytest.raises(BundleError, match="a template needs"):
        compile_bundle({SCHEMA_FILE: cedar_schema().encode(), "t.cedar": (policy() + text).encode()}, "b")


# ---------------------------------------------------------------- forms

VALUES = {"principal": "保守会社", "resource": "ehr", "action": "write", "from": "2026-12-01", "until": "2026-12-02"}
KNOWN = Known(routes=(KnownRoute(id="ehr.chart", app="ehr", action="read"),), zones=("ward",), roles=("nurse",))


def test_a_form_has_a_field_for_each_place() -> None:
    form = form_of(compiled(), "in-period", KNOWN)
    assert form is not None
    assert [field.name for field in form.fields] == ["principal", "resource", "action", "from", "until"]
    by_name = {field.name: field for field in form.fields}
    assert by_name["resource"].choices == ("ehr",)
    assert by_name["resource"].open
    assert by_name["action"].choices == ("read", "write")
    assert not by_name["action"].open
    assert (by_name["from"].kind, by_name["from"].label_ja, by_name["from"].label_en) == ("date", "開始日", "First day")
    assert form_of(compiled(), "plain") is None


def test_every_form_of_the_starter_bundle_can_be_filled_in() -> None:
    known = Known(routes=KNOWN.routes, zones=("ward",), roles=("nurse",), shifts=("day",))
    made: dict[str, bytes] = dict(_FILES)
    for form in forms(STARTER_BUNDLE, known):
        sample = {"date": "2026-12-01", "organization": "会社"}
        values = {
            field.name: field.choices[0] if field.choices else str(field.low) if field.low else sample[field.kind]
            for field in form.fields
        }
        made = add_link(made, form.template, values)
    bundle = compile_bundle(made, "b")
    assert len(bundle.policies) == len(STARTER_BUNDLE.policies) + len(forms(STARTER_BUNDLE))


def diff(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    assert {name for name in {*before, *after} if before.get(name) != after.get(name)} <= {LINKS_FILE}
    old, new = (side.get(LINKS_FILE, b"").decode().splitlines() for side in (before, after))
    return [line for line in difflib.unified_diff(old, new, n=0, lineterm="") if not line.startswith(("---", "+++", "@@"))]


def test_adding_changes_only_the_end() -> None:
    before = files()
    after = add_link(before, "in-period", {**VALUES, "id": "b", "mode": "report-only"})
    assert [line for line in diff(before, after) if line.startswith("-")] == []
    assert after[LINKS_FILE].startswith(before[LINKS_FILE])
    made = compile_bundle(after, "b").policy("b")
    assert made is not None
    assert made.report_only


def test_the_first_link_makes_the_file_and_the_last_takes_it() -> None:
    without = {name: data for name, data in files().items() if name != LINKS_FILE}
    after = add_link(without, "in-period", VALUES)
    assert compile_bundle(after, "b").policy("in-period-1") is not None
    assert remove_link(after, "in-period-1") == without


def test_an_id_is_made_up_that_nobody_has() -> None:
    made = files()
    for _ in range(3):
        made = add_link(made, "in-period", VALUES)
    assert [one.id for one in compile_bundle(made, "b").policies] == ["plain", "a", "in-period-1", "in-period-2", "in-period-3"]


def test_changing_and_taking_away_leave_the_others_and_their_comments() -> None:
    text = LINK + "\n# about b\n" + LINK.replace('"a"', '"b"').replace("# who may come\n", "") + "\n# at the end\n"
    before = files(text)
    after = change_link(before, "a", {**VALUES, "action": "write", "until": "2027-01-31"})
    assert all("from =" in line for line in diff(before, after))
    assert len(diff(before, after)) == 2
    gone = remove_link(before, "a")[LINKS_FILE].decode()
    assert "# about b" in gone
    assert "# at the end" in gone
    assert [link.id for link in read_links(gone.encode(), "f")] == ["b"]
    assert diff(before, change_link(before, "b", values_of(before, "b")[1])) == []


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"until": "2026-01-01"}, "until"),
        ({"until": ""}, "until"),
        ({"from": "tomorrow"}, "from"),
        ({"resource": "еhr"}, "resource"),
        ({"action": "delete"}, "action"),
        ({"id": "plain"}, "id"),
        ({"id": "A b"}, "id"),
        ({"title_ja": "a\u202eb"}, "title_ja"),
        ({"mode": "off"}, "mode"),
        ({"guideline": "x"}, "guideline"),
        ({"colour": "red"}, "template"),
    ],
)
def test_a_form_that_is_wrongly_filled_in_is_refused_by_field(values: dict[str, str], field: str) -> None:
    with pytest.raises(FormRefused) as caught:
        add_link(files(), "in-period", {**VALUES, **values})
    assert [problem.field for problem in caught.value.problems] == [field]


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(FormRefused, match="there is no template"):
        add_link(files(), "plain", VALUES)
    with pytest.raises(FormRefused, match="there is no link"):
        change_link(files(), "b", VALUES)
    with pytest.raises(FormRefused, match="there is no link"):
        remove_link(files(), "plain")
    with pytest.raises(FormRefused, match=r"links\.toml can't be read"):
        add_link(files("[[link"), "in-period", VALUES)


def test_a_folder_may_hold_links(tmp_path: Path) -> None:
    for name, data in files().items():
        (tmp_path / name).write_bytes(data)
    assert load_bundle(tmp_path).policy("a") is not None
    (tmp_path / "link.toml").write_bytes(b"")
    with pytest.raises(BundleError, match=r"link\.toml: this does not belong"):
        load_bundle(tmp_path)
