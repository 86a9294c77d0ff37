import dataclasses
import html
import re
from pathlib import Path
from typing import Literal, get_args

import pytest

import gateway.console
import idp.model
from gateway.console.export import OUTCOMES
from gateway.console.page import DONE
from gateway.domain import reason
from gateway.domain.identity import AuthKind
from gateway.domain.posture import Compliance, DeviceStatus, Evidence, Ownership
from gateway.domain.record import DecisionRecord, EventName
from gateway.domain.route import Action
from gateway.kernel.i18n import LANGUAGES, Catalogue
from gateway.policy.evaluate import Policy
from gateway.policy.guidelines import clause_title
from tests.support.console import OFFICER, World
from tests.unit.console.conftest import Client, Visit

FOLDER = Path(gateway.console.__file__).parent
KEYS = Catalogue.load(FOLDER / "text").keys()


@pytest.mark.parametrize("path", ["/", "/sessions", "/devices", "/policies", "/export", "/export?format=x", "/nothing"])
@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_page_speaks_both_languages_and_is_locked_down(
    officer: Client, world: World, path: str, language: str
) -> None:
    world.load_policies()
    await world.session()
    for status in get_args(DeviceStatus):
        for compliance in get_args(Compliance):
            await world.device(status=status, compliance=compliance)
    reply = await officer.get(path, headers={"Accept-Language": language})
    body = await reply.text()
    assert f'<html lang="{language}">' in body
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", body)
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "form-action 'self' http://portal.localhost:8080 http://id.localhost:8080;" in f"{policy};"
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["X-Frame-Options"] == "DENY"
    assert re.search(r'<a href="\?[^"]*lang=(ja|en)"', body)
    if language == "en":
        without_names = body.replace("山本 凛", "").replace("佐藤 恵", "").replace("日本語", "")
        visible = re.sub(r"<pre.*?</pre>|lang=\"ja\">[^<]*|3東病棟 端末\d+", "", without_names, flags=re.DOTALL)
        assert not re.findall("[\u3040-\u30ff]+", visible)


async def test_every_form_field_has_a_label(officer: Client) -> None:
    page = await (await officer.get("/export")).text()
    for name in re.findall(r'<(?:input|select)[^>]*\bid="(\w+)"', page):
        assert f'<label for="{name}">' in page


async def test_the_policies_are_shown_as_they_decide(officer: Client, world: World) -> None:
    world.load_policies()
    page = await (await officer.get("/policies")).text()
    assert world.in_force.version in page
    for policy in world.in_force.policies:
        assert policy.title_ja in page
        assert policy.title_en in page
        assert policy.id in page
        assert all(clause in page for clause in policy.guidelines)
    assert "Action::&#34;read&#34;" in page
    assert "記録のみ" in page


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_a_guideline_clause_is_shown_with_its_title(officer: Client, world: World, language: Literal["ja", "en"]) -> None:
    world.load_policies()
    page = html.unescape(await (await officer.get(f"/policies?lang={language}")).text())
    clauses = {clause for policy in world.in_force.policies for clause in policy.guidelines}
    assert len(clauses) > 3
    for clause in clauses:
        title = clause_title(clause, language)
        assert title
        assert f'{clause}</span> <span class="muted">{title}</span>' in page


async def test_a_rejected_bundle_is_said_on_the_overview_too(officer: Client, world: World) -> None:
    world.load_policies()
    world.in_force = dataclasses.replace(world.in_force, rejected="<b>ehr.cedar:3</b>: unexpected \u202etoken")
    page = await (await officer.get("/policies")).text()
    assert "&lt;b&gt;ehr.cedar:3&lt;/b&gt;: unexpected \\u{202e}token" in page
    assert "新しい版は不採用" in await (await officer.get("/")).text()


async def test_markup_in_a_policy_stays_text(officer: Client, world: World) -> None:
    nasty = "</code></pre><script>alert(1)</script>\u202e"
    policy = Policy(
        id=nasty,
        effect="permit",
        title_ja=nasty,
        title_en=nasty,
        guidelines=(nasty,),
        file=f"a/{nasty}",
        line=1,
        text=f"{nasty}\n\tx",
        cedar="",
    )
    world.in_force = dataclasses.replace(world.in_force, policies=(policy,))
    page = await (await officer.get("/policies")).text()
    assert "<script>alert" not in page
    assert "\u202e" not in page
    assert "\\u{202e}\n    x" in page


async def test_the_demo_says_that_it_is_one(visit: Visit) -> None:
    assert "デモ環境" in await (await (await visit(OFFICER, simulated=True)).get("/nothing")).text()
    assert "デモ環境" not in await (await (await visit(OFFICER)).get("/")).text()


async def test_a_name_with_markup_stays_text(visit: Visit) -> None:
    client = await visit(OFFICER, {"name": '<script>alert(1)</script>\u202e"', "roles": ["security_officer", "<b>x"]})
    page = await (await client.get("/")).text()
    assert "<script>alert" not in page
    assert "<b>x" not in page
    assert "\u202e" not in page


async def test_an_app_name_from_the_log_with_markup_stays_text(officer: Client, world: World) -> None:
    await world.decision(app='"><script>alert(1)</script>')
    assert "<script>alert" not in await (await officer.get("/")).text()


# ------------------------------------------------------------------ closed sets have words


@pytest.mark.parametrize(
    ("prefix", "codes"),
    [
        (
            "reason",
            ["policy_permits", *reason.ChallengeReason, *reason.DenyReason, *reason.RefuseReason, *reason.UnavailableReason],
        ),
        ("remedy", list(reason.RemedyStep)),
        ("event", [*get_args(EventName), *get_args(idp.model.EventName)]),
        ("outcome", [*get_args(DecisionRecord.__annotations__["outcome"]), *OUTCOMES]),
        ("action", get_args(Action)),
        ("kind", get_args(AuthKind)),
        ("evidence", get_args(Evidence)),
        ("status", get_args(DeviceStatus)),
        ("compliance", get_args(Compliance)),
        ("ownership", get_args(Ownership)),
        ("done", list(DONE)),
    ],
)
def test_every_code_has_a_word_and_every_word_a_code(prefix: str, codes: list[str]) -> None:
    assert {key.removeprefix(f"{prefix}.") for key in KEYS if key.startswith(f"{prefix}.")} == set(codes)


def test_no_text_is_unused_or_missing() -> None:
    source = "".join(path.read_text("utf-8") for path in FOLDER.glob("templates/*.html"))
    used = set(re.findall(r'\bt\("([\w.]+\w)"[,)]', source))
    assert used <= KEYS
    computed = (
        "reason.", "remedy.", "event.", "outcome.", "action.", "kind.", "evidence.", "status.", "compliance.", "ownership.",
        "done.", "error.", "effect.", "lang.", "nav.", "devices.", "export.", "proofing.", "drafts.",
        "grants.state.", "grants.wrong.",
        "glass.state.", "glass.finding.", "glass.how.", "glass.channel.", "glass.notice.", "glass.given_up", "glass.tried",
        "posture.", "replay.", "why.answer.", "why.field.", "why.wrong.", "why.sign_in.", "why.proofing.", "why.device.",
        "why.situation.", "why.would_",
    )  # fmt: skip
    assert {key for key in KEYS - used if not key.startswith(computed)} == set()
