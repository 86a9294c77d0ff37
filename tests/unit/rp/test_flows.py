"""One-time names of a sign-in, and what is asked of the provider."""

import msgspec
import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.secret import hash_token
from gateway.policy.remedy import CEREMONY_SECONDS
from gateway.rp.flows import FLOW_SECONDS, HANDOFF_SECONDS, STATE_SECONDS, Flow, Flows, Handoff, Purpose, State, request_extras
from gateway.sessions.one_time import MemoryOneTime

FLOW = Flow(host="ehr.localhost", path="/patients?q=x", purpose="sign_in", binding=hash_token("app"), generation=3, anew=True)
STATE = State(flow=FLOW, nonce="n", verifier="v", binding=hash_token("portal"), session_id="ses_1", anew=True, asked_at=1)
HANDOFF = Handoff(session_id="ses_1", flow=FLOW)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def flows(clock: ManualClock) -> Flows:
    return Flows(MemoryOneTime(clock=clock))


async def test_a_flow_is_read_until_it_runs_out(flows: Flows, clock: ManualClock) -> None:
    name = await flows.begin(FLOW)
    assert await flows.look(name) == FLOW
    clock.advance(FLOW_SECONDS - 1)
    assert await flows.look(name) == FLOW
    clock.advance(1)
    assert await flows.look(name) is None
    assert await flows.look("") is None


async def test_a_state_is_good_once_and_for_its_browser(flows: Flows, clock: ManualClock) -> None:
    name = await flows.ask(STATE)
    assert await flows.answered(name, "portal") == STATE
    assert await flows.answered(name, "portal") is None
    name = await flows.ask(STATE)
    assert await flows.answered(name, "another") is None
    assert await flows.answered(name, "portal") is None  # used up by the attempt
    name = await flows.ask(STATE)
    clock.advance(STATE_SECONDS)
    assert await flows.answered(name, "portal") is None


async def test_a_handoff_is_good_once_for_its_host_and_browser_and_a_minute(flows: Flows, clock: ManualClock) -> None:
    for host, binding in (("imaging.localhost", "app"), ("ehr.localhost", "another"), ("ehr.localhost", "")):
        code = await flows.hand_over(HANDOFF)
        assert await flows.receive(code, host, binding) is None
        assert await flows.receive(code, "ehr.localhost", "app") is None
    code = await flows.hand_over(HANDOFF)
    assert await flows.receive(code, "ehr.localhost", "app") == HANDOFF
    assert await flows.receive(code, "ehr.localhost", "app") is None
    code = await flows.hand_over(HANDOFF)
    clock.advance(HANDOFF_SECONDS)
    assert await flows.receive(code, "ehr.localhost", "app") is None


async def test_one_kind_of_name_is_no_other_kind(flows: Flows) -> None:
    flow, state, code = await flows.begin(FLOW), await flows.ask(STATE), await flows.hand_over(HANDOFF)
    assert await flows.look(state) is None
    assert await flows.look(code) is None
    assert await flows.answered(flow, "portal") is None
    assert await flows.answered(code, "portal") is None
    assert await flows.receive(flow, "ehr.localhost", "app") is None
    assert await flows.receive(state, "ehr.localhost", "app") is None
    assert (await flows.look(flow), await flows.answered(state, "portal")) == (FLOW, STATE)


MFA, PROOFED = "urn:zt-gateway:acr:mfa", "urn:zt-gateway:acr:proofed"


@pytest.mark.parametrize(
    ("purpose", "expected"),
    [
        ("sign_in", {"acr_values": MFA}),
        ("register_device", {"acr_values": MFA}),
        ("key_touch", {"acr_values": "phr", "max_age": "0"}),
        ("second_factor", {"acr_values": MFA, "max_age": "0"}),
        ("identity_proofing", {"acr_values": PROOFED, "max_age": str(CEREMONY_SECONDS)}),
    ],
)
def test_what_is_asked_for_a_purpose(purpose: Purpose, expected: dict[str, str]) -> None:
    assert request_extras(purpose, id_token="", language="ja") == {"ui_locales": "ja", **expected}
    assert request_extras(purpose, id_token="t", language="en") == {"ui_locales": "en", "id_token_hint": "t", **expected}
    anew = {"ui_locales": "ja", **expected, "prompt": "login", "max_age": "0"}
    assert request_extras(purpose, id_token="", language="ja", anew=True) == anew


def test_who_has_a_proofing_in_force_is_asked_for_another_one_and_for_any_where_that_word_is_unknown() -> None:
    asked = request_extras("identity_proofing", id_token="t", language="ja", proofed=True)
    assert asked["acr_values"].split() == ["urn:zt-gateway:acr:proofed-anew", PROOFED]
    assert request_extras("sign_in", id_token="t", language="ja", proofed=True)["acr_values"] == MFA


def test_nothing_of_a_state_is_lost_on_the_way() -> None:
    assert msgspec.json.decode(msgspec.json.encode(STATE), type=State) == STATE
