"""One question to the policies, one answer. Pure and total: it never raises, and whatever goes wrong is a no.

Two things differ from Cedar, both on the safe side:

- Cedar skips a policy that can't be evaluated (an integer overflow, say), so a `forbid` that errs would stop forbidding.
  Here any evaluation error makes the answer no, and is listed.
- Policies marked `@mode("report-only")` are evaluated and reported, and never change the answer.
"""

import re
from collections.abc import Sequence
from typing import Any, Final, Literal

import cedarpy
import msgspec

from gateway.policy.facts import Facts
from gateway.policy.schema import SCHEMA, cedar_entities, cedar_request

_POLICY_ERROR: Final = re.compile(r"error while evaluating policy `(policy\d+)`: (.*)", re.DOTALL)
_QUOTED: Final = re.compile(r"`[^`]*`?", re.DOTALL)
_MAX_ERROR: Final = 200


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """One policy of a bundle, with what its annotations say."""

    id: str
    effect: Literal["permit", "forbid"]
    title_ja: str
    title_en: str
    guidelines: tuple[str, ...] = ()
    """What it serves: `<version>/<part>/<clause>`, such as `7.0/ops/14-5`. Checked by form only, not that the clause exists."""
    report_only: bool = False
    lease_seconds: int = 0
    """How long an external door may reuse an Allow that this policy determined."""
    file: str
    line: int
    text: str
    """As written, for people."""
    cedar: str
    """The same tokens without comments, as Cedar got them."""


class ReportOnly(msgspec.Struct, frozen=True, kw_only=True):
    """What the answer would be if the report-only policies were enforced as well."""

    allowed: bool
    policies: tuple[str, ...]
    """The report-only policies among those that would determine it."""
    errors: tuple[str, ...]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the policies say. Not allowed and not forbidden: no policy permits it, or `errors` is not empty."""

    allowed: bool
    forbidden: bool
    """A `forbid` matched."""
    policies: tuple[str, ...] = ()
    """Ids of the policies that determined it, sorted: the permits of an Allow, the forbids of a forbidden. Else empty."""
    errors: tuple[str, ...] = ()
    """`<policy id>: <what>`, or `request: <what>` when Cedar could not take the facts. Values are replaced by `…`."""
    lease_seconds: int = 0
    """The shortest lease of the determining policies of an Allow; 0: do not reuse it."""
    report_only: ReportOnly | None = None
    """None when the bundle has no report-only policy, or `evaluate` was not asked for it."""


class _Compiled:
    """Policies as one parsed Cedar set, with the way back from Cedar's positional ids to ours."""

    __slots__ = ("by_position", "handle")

    def __init__(self, policies: Sequence[Policy]) -> None:
        self.handle = cedarpy.PolicySet.from_str("\n".join(policy.cedar for policy in policies))
        self.by_position = {f"policy{index}": policy for index, policy in enumerate(policies)}
        parsed = self.handle.to_pst().static_policies
        if {key: node.annotations.get("id") for key, node in parsed.items()} != {
            key: p.id for key, p in self.by_position.items()
        }:
            raise ValueError("Cedar numbered the policies differently")

    def ask(self, all_facts: Sequence[Facts], *, checked: bool) -> list[Answer]:
        """Answer each; all must be about the same person and target, because their entities are read from the first.

        `checked`: the context is checked against the schema as well. That costs as much as the rest, and is not needed for
        facts that passed it a moment ago: a policy that meets a wrong type errs, which is a no.
        """
        first = all_facts[0]
        try:
            responses = cedarpy.is_authorized_batch(
                [cedar_request(facts) for facts in all_facts],
                self.handle,
                cedar_entities(first.principal, first.target),
                SCHEMA if checked else None,
            )
            return [self._answer(response) for response in responses]
        except Exception as error:  # noqa: BLE001  total by promise: facts that can't even be encoded are a no, never a crash
            no = Answer(allowed=False, forbidden=False, errors=(f"request: {type(error).__name__}",))
            return [no] * len(all_facts)

    def _answer(self, response: cedarpy.AuthzResult) -> Answer:
        determining = [self.by_position[reason] for reason in response.diagnostics.reasons]
        policies = tuple(sorted(policy.id for policy in determining))
        errors = tuple(self._error(text) for text in response.diagnostics.errors)
        allowed = response.decision is cedarpy.Decision.Allow
        if response.decision is cedarpy.Decision.NoDecision and not errors:
            errors = ("request: no decision",)
        if allowed and not errors:
            return Answer(
                allowed=True, forbidden=False, policies=policies, lease_seconds=min(p.lease_seconds for p in determining)
            )
        return Answer(
            allowed=False, forbidden=bool(policies) and not allowed, policies=() if allowed else policies, errors=errors
        )

    def _error(self, text: str) -> str:
        match = _POLICY_ERROR.fullmatch(text)
        who, what = (self.by_position[match[1]].id, match[2]) if match else ("request", text)
        # Cedar quotes values, which must not leave the record's own fields.
        what = _QUOTED.sub("…", what)
        return f"{who}: {' '.join(what.split())[:_MAX_ERROR]}"


class Bundle:
    """A validated set of policies. Immutable; may be shared between threads.

    Made by `gateway.policy.compile.compile_bundle`, which does all checking: this class trusts its arguments.
    """

    __slots__ = ("_enforced", "_report_only", "policies", "version")

    def __init__(self, *, version: str, policies: Sequence[Policy]) -> None:
        self.version: Final = version
        """SHA-256 over the names and bytes of the schema and the policy files, hex."""
        self.policies: Final = tuple(policies)
        enforced = [policy for policy in self.policies if not policy.report_only]
        self._enforced: Final = _Compiled(enforced)
        report_only = [policy for policy in self.policies if policy.report_only]
        self._report_only: Final = _Compiled(report_only) if report_only else None

    def __repr__(self) -> str:
        return f"<Bundle {self.version[:12]} with {len(self.policies)} policies>"

    def policy(self, policy_id: str) -> Policy | None:
        """Return a policy by its @id."""
        return next((policy for policy in self.policies if policy.id == policy_id), None)

    def evaluate(self, facts: Facts) -> Answer:
        """Decide one request. Never raises: what can't be evaluated is not allowed, with `errors`."""
        answer = self._enforced.ask([facts], checked=True)[0]
        if self._report_only is None:
            return answer
        return msgspec.structs.replace(answer, report_only=_together(answer, self._report_only.ask([facts], checked=False)[0]))

    def allowed(self, hypotheses: Sequence[Facts]) -> list[bool]:
        """Say for each of several facts about the *same person and target* whether it would be allowed, in one call.

        Report-only policies are not asked, and the facts are not checked against the schema: `evaluate` comes first.
        """
        first = hypotheses[0]
        if any((facts.principal, facts.target) != (first.principal, first.target) for facts in hypotheses):
            raise ValueError("hypotheses must be about one person and one target")
        return [answer.allowed for answer in self._enforced.ask(hypotheses, checked=False)]


def _together(enforced: Answer, marked: Answer) -> ReportOnly:
    """What both sets of policies would answer as one: a forbid of either wins, a permit of either does, an error denies."""
    forbidden = enforced.forbidden or marked.forbidden
    errors = enforced.errors + marked.errors
    allowed = (enforced.allowed or marked.allowed) and not forbidden and not errors
    # Permits determine nothing where something else forbids or errs.
    policies = marked.policies if marked.forbidden or allowed else ()
    return ReportOnly(allowed=allowed, policies=policies, errors=marked.errors)


def facts_of_record(recorded: dict[str, Any]) -> Facts:
    """Return the facts of a decision record, so that the decision can be made again.

    msgspec.ValidationError when the record's facts are not this version's closed set.
    """
    return msgspec.convert(recorded, Facts)
