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
from gateway.policy.reads import Reads, reads_of
from gateway.policy.schema import cedar_entities, cedar_request
from gateway.policy.template import Template

_POLICY_ERROR: Final = re.compile(r"error while evaluating policy `(policy\d+)`: (.*)", re.DOTALL)
_QUOTED: Final = re.compile(r"`[^`]*`?", re.DOTALL)
_MAX_ERROR: Final = 200
_encoded: Final = msgspec.json.Encoder().encode
_typed: Final = msgspec.json.Decoder(Facts).decode


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
    template: str = ""
    """Of a filled-in template (`links.toml`): its id."""
    values: tuple[tuple[str, str | int], ...] = ()
    """What fills its places: `(("principal", "保守会社"), ("from", "2026-12-01"))`."""


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
        # Requests are answered meanwhile: Cedar parses without Python's lock.
        self.handle = cedarpy.PolicySet.from_str("\n".join(policy.cedar for policy in policies), release_gil=True)
        self.by_position = {f"policy{index}": policy for index, policy in enumerate(policies)}

    def reads(self) -> Reads:
        """What these policies can tell of the facts. ValueError when Cedar numbered them differently than they stand here."""
        parsed = self.handle.to_pst().static_policies
        if {key: node.annotations.get("id") for key, node in parsed.items()} != {
            key: p.id for key, p in self.by_position.items()
        }:
            raise ValueError("Cedar numbered the policies differently")
        return reads_of(parsed.values())

    def ask(self, all_facts: Sequence[Facts], entities: cedarpy.Entities) -> list["_Said"]:
        """Ask Cedar about each; all must be about the same person and target, to whom `entities` belong."""
        requests = [cedar_request(facts) for facts in all_facts]
        return [self._said(response) for response in cedarpy.is_authorized_batch(requests, self.handle, entities)]

    def _said(self, response: cedarpy.AuthzResult) -> "_Said":
        diagnostics = response.diagnostics
        errors = [self._error(text) for text in diagnostics.errors]
        if response.decision is cedarpy.Decision.NoDecision and not errors:
            errors.append((None, "request: no decision"))
        return _Said(
            allowed=response.decision is cedarpy.Decision.Allow,
            determining=[self.by_position[reason] for reason in diagnostics.reasons],
            errors=errors,
        )

    def _error(self, text: str) -> tuple[Policy | None, str]:
        match = _POLICY_ERROR.fullmatch(text)
        policy, what = (self.by_position[match[1]], match[2]) if match else (None, text)
        # Cedar quotes values, which must not leave the record's own fields.
        what = _QUOTED.sub("…", what)
        return policy, f"{policy.id if policy else 'request'}: {' '.join(what.split())[:_MAX_ERROR]}"


class _Said(msgspec.Struct):
    """What Cedar said of one request."""

    allowed: bool
    determining: list[Policy]
    """Of an Allow the permits that match, else the forbids that do."""
    errors: list[tuple[Policy | None, str]]

    def of(self, *, report_only: bool) -> Answer:
        """The answer of the enforced policies alone, or of the report-only ones: what their own set would say, unless a forbid of
        the other kind hides which permits match. An error that is nobody's is everybody's.
        """
        mine = [policy for policy in self.determining if policy.report_only is report_only]
        errors = tuple(text for policy, text in self.errors if policy is None or policy.report_only is report_only)
        names = tuple(sorted(policy.id for policy in mine))
        if self.allowed and mine and not errors:
            return Answer(
                allowed=True, forbidden=False, policies=names, lease_seconds=min(policy.lease_seconds for policy in mine)
            )
        forbidden = bool(mine) and not self.allowed
        return Answer(allowed=False, forbidden=forbidden, policies=names if forbidden else (), errors=errors)


class Bundle:
    """A validated set of policies. Immutable; may be shared between threads.

    Made by `gateway.policy.compile.compile_bundle`, which does all checking: this class trusts its arguments.
    """

    __slots__ = ("_all", "_enforced", "policies", "reads", "templates", "version")

    def __init__(
        self, *, version: str, policies: Sequence[Policy], reads: Reads | None = None, templates: Sequence[Template] = ()
    ) -> None:
        """`reads`: what an earlier bundle of the very same policies found out; then nothing is looked at again."""
        self.version: Final = version
        """SHA-256 over the names and bytes of the schema and the policy files, hex."""
        self.policies: Final = tuple(policies)
        self.templates: Final = tuple(templates)
        """They decide nothing; what they were filled in to are policies."""
        enforced = [policy for policy in self.policies if not policy.report_only]
        self._all: Final = _Compiled(self.policies)
        self._enforced: Final = _Compiled(enforced) if len(enforced) < len(self.policies) else self._all
        self.reads: Final = self._all.reads() if reads is None else reads
        """What the policies, report-only ones included, can tell of the facts."""

    def __repr__(self) -> str:
        return f"<Bundle {self.version[:12]} with {len(self.policies)} policies>"

    def policy(self, policy_id: str) -> Policy | None:
        """Return a policy by its @id."""
        return next((policy for policy in self.policies if policy.id == policy_id), None)

    def evaluate(self, facts: Facts) -> Answer:
        """Decide one request. Never raises: what can't be evaluated is not allowed, with `errors`."""
        try:
            # Every type, as Cedar's own check against the schema would find it: the schema is made from these very structs.
            _typed(_encoded(facts))
            entities = self._entities(facts)
            said = self._all.ask([facts], entities)[0]
            if self._enforced is self._all:
                return said.of(report_only=False)
            enforced, marked = said.of(report_only=False), said.of(report_only=True)
            if marked.forbidden and not enforced.forbidden:
                # A forbid that only reports hides which enforced policies permit: ask without it.
                enforced = self._enforced.ask([facts], entities)[0].of(report_only=False)
        except Exception as error:  # noqa: BLE001  total by promise: facts that can't even be encoded are a no, never a crash
            return self._no(error)
        return msgspec.structs.replace(enforced, report_only=_together(enforced, marked))

    def allowed(self, hypotheses: Sequence[Facts]) -> list[bool]:
        """Say for each of several facts about the *same person and target* whether it would be allowed, in one call.

        Report-only policies are not asked, and the types of the facts are not checked: `evaluate` comes first.
        """
        about_one(hypotheses)
        try:
            return [said.of(report_only=False).allowed for said in self._enforced.ask(hypotheses, self._entities(hypotheses[0]))]
        except Exception:  # noqa: BLE001  as in `evaluate`
            return [False] * len(hypotheses)

    def _entities(self, facts: Facts) -> cedarpy.Entities:
        """The person and the route. A patient whom no policy looks at is left out: so they are found again for the next one."""
        target = facts.target
        if target.patient and "target.patient" not in self.reads.exact:
            target = msgspec.structs.replace(target, patient="")
        return cedar_entities(facts.principal, target)

    def _no(self, error: Exception) -> Answer:
        errors = (f"request: {type(error).__name__}",)
        no = Answer(allowed=False, forbidden=False, errors=errors)
        if self._enforced is self._all:
            return no
        return msgspec.structs.replace(no, report_only=ReportOnly(allowed=False, policies=(), errors=errors))


def about_one(hypotheses: Sequence[Facts]) -> None:
    """Raise ValueError unless all are about the same person and target."""
    first = hypotheses[0]
    if any((facts.principal, facts.target) != (first.principal, first.target) for facts in hypotheses):
        raise ValueError("hypotheses must be about one person and one target")


def _together(enforced: Answer, marked: Answer) -> ReportOnly:
    """What both sets of policies would answer as one: a forbid of either wins, a permit of either does, an error denies."""
    forbidden = enforced.forbidden or marked.forbidden
    errors = enforced.errors + marked.errors
    allowed = (enforced.allowed or marked.allowed) and not forbidden and not errors
    # Permits determine nothing where something else forbids or errs.
    policies = marked.policies if marked.forbidden or allowed else ()
    return ReportOnly(allowed=allowed, policies=policies, errors=marked.errors)


def facts_of_record(recorded: dict[str, Any] | msgspec.Raw) -> Facts:
    """Return the facts of a decision record, so that the decision can be made again.

    msgspec.ValidationError when the record's facts are not this version's closed set.
    """
    return _typed(recorded) if isinstance(recorded, msgspec.Raw) else msgspec.convert(recorded, Facts)
