"""What the page that watches counts: the present bundle and the present trial, nothing of those before."""

from gateway.console.policy_watch import Watched, seen_beside
from gateway.domain.record import Beside, DecisionRecord
from tests.support.logs import decision

NOW, PAST, TRIAL, ENDED = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
WATCHED = Watched(version=NOW, trial=TRIAL, draft="drf_1")


def made(**changes: object) -> DecisionRecord:
    one = decision(1)
    return DecisionRecord(**{name: getattr(one, name) for name in one.__struct_fields__} | {"outcome": "allow"} | changes)


def kinds(record: DecisionRecord, watched: Watched = WATCHED) -> list[str]:
    return [kind for kind, _ in seen_beside(record, watched)]


def test_only_the_trial_that_runs_is_counted() -> None:
    assert kinds(made(bundle=NOW, trial=Beside(allowed=False, bundle=TRIAL))) == ["trial"]
    assert kinds(made(bundle=PAST, trial=Beside(allowed=False, bundle=TRIAL))) == ["trial"], "it outlives a publication"
    assert kinds(made(bundle=NOW, trial=Beside(allowed=False, bundle=ENDED))) == []
    assert kinds(made(bundle=NOW, trial=Beside(allowed=True, bundle=TRIAL))) == [], "the same answer"
    nothing_on_trial = Watched(version=NOW)
    for bundle in (TRIAL, ""):
        assert kinds(made(bundle=NOW, trial=Beside(allowed=False, bundle=bundle)), nothing_on_trial) == []


def test_only_report_only_policies_of_the_bundle_in_force_are_counted() -> None:
    would_stop = Beside(allowed=False, policies=("once-report-only",))
    assert kinds(made(bundle=NOW, report_only=would_stop)) == ["report_only"]
    assert kinds(made(bundle=PAST, report_only=would_stop)) == []


def test_denials_are_those_since_it_came_into_force() -> None:
    denied = made(bundle=NOW, outcome="deny", at="2027-01-15T08:00:00.000Z")
    assert kinds(denied) == ["denied"]
    assert kinds(denied, Watched(version=NOW, since=1_900_000_000)) == []
    assert kinds(denied, Watched(version=PAST)) == []
