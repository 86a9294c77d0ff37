"""Templates and their links, to Cedar and to policies of the bundle. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import cedarpy
import msgspec
from cedarpy import pst

from gateway.kernel.errors import BundleError
from gateway.policy.evaluate import Policy
from gateway.policy.links import Link, filled, find_template, wrong_values
from gateway.policy.problems import raise_problems
from gateway.policy.single import check_policy, clauses_of, compile_policy, parse_policy, parse_template
from gateway.policy.source import PolicySource, Token
from gateway.policy.template import ENTITY, OF_SLOT, Template, body_of, body_with, read_slots, sampled


def compile_template(source: PolicySource) -> Template:
    """Check one template and return it: as a policy is checked, with some fitting value in each place of ours.

    Raises BundleError (BundleProblems when there are several).
    """
    slots = read_slots(source, _annotations(source))
    example = sampled(source, slots)
    parsed = parse_template(example)
    problems = check_policy(example, parsed)
    if "mode" in parsed.annotations:
        where = f"{source.file}:{source.line_of('@', 'mode')}"
        problems.append(BundleError("a template has no @mode", where=where, todo='Its links have: mode = "report-only"'))
    raise_problems(problems)
    return Template(
        id=parsed.annotations["id"],
        effect=parsed.effect,
        title_ja=parsed.annotations["title_ja"],
        title_en=parsed.annotations["title_en"],
        guidelines=clauses_of(parsed.annotations),
        lease=parsed.annotations.get("lease", ""),
        slots=slots,
        file=source.file,
        line=source.line,
        text=source.text,
        body=body_of(source)[0],
    )


def _annotations(source: PolicySource) -> Mapping[str, str]:
    """Return the annotations of a template that Cedar can't read yet: it reads them before another policy."""
    head = source.tokens[: body_of(source)[1]]
    plain = (Token(text, source.line) for text in ("permit", "(", "principal", ",", "action", ",", "resource", ")", ";"))
    return parse_policy(msgspec.structs.replace(source, tokens=(*head, *plain))).annotations


def compile_link(link: Link, templates: Mapping[str, Template], others: Sequence[str], file: str) -> Policy:
    """Fill a template in, and check what comes of it as any policy. `others`: ids of what is no template.

    Its meaning is Cedar's own for a linked template: Cedar links it here, and the policy is refused if it says anything else.
    Raises BundleError (BundleProblems when there are several), with the link's line.
    """
    where = f"{file}:{link.line}"
    template = find_template(link, templates, others)
    if isinstance(template, tuple):
        raise BundleError(template[0], where=where, todo=template[1])
    raise_problems([BundleError(what, where=where, todo=todo) for _, what, todo in wrong_values(link, template)])
    policy = compile_policy(filled(link, template, file))
    if _meaning(cedarpy.PolicySet.from_str(policy.cedar)) != _meaning(linked_by_cedar(link, template)):
        raise BundleError("Cedar links this differently", where=where, todo="Report this; write a plain policy meanwhile")
    return msgspec.structs.replace(policy, template=template.id, values=tuple(link.all_values().items()))


def linked_by_cedar(link: Link, template: Template) -> cedarpy.PolicySet:
    """Return the link as Cedar makes it: a set of this one policy. The link's values must not be wrong."""
    values = link.all_values()
    scope = {
        slot.name: {"type": ENTITY[slot.kind], "id": str(values[slot.name])} for slot in template.slots if slot.name in OF_SLOT
    }
    base = cedarpy.PolicySet.from_str(body_with(template, values, of_cedar=False))
    linked = base.with_linked("policy0", "linked", {f"?{name}": uid for name, uid in scope.items()})
    # As text, and read again: Cedar's own account of what the link says.
    return cedarpy.PolicySet.from_str(str(linked))


def _meaning(policies: cedarpy.PolicySet) -> pst.Template:
    (policy,) = policies.to_pst().static_policies.values()
    return replace(policy, id="", annotations={})
