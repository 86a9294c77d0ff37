"""Fuzz targets of bundles. `links`: a `links.toml` beside good templates. `templates`: a file of templates beside a good link."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import cedarpy
import msgspec

from gateway.kernel.errors import BundleError
from gateway.policy.compile import SCHEMA_FILE, compile_bundle, problems_of
from gateway.policy.evaluate import Bundle
from gateway.policy.linking import linked_by_cedar
from gateway.policy.links import LINKS_FILE, read_links, write_link
from gateway.policy.schema import cedar_schema
from tests.support.policy import policy

_TEMPLATES: Final = b"""
@id("t")
@title_ja("{zone}")
@title_en("{zone} {resource}")
@value_resource("app; \xe3\x81\x82; Application")
@value_zone("zone; \xe3\x81\x82; Zone")
@value_from("date; \xe3\x81\x82; From")
@value_until("date >= from; \xe3\x81\x82; Until")
@value_n("number 3..9; \xe3\x81\x82; Number")
@value_action("action read write; \xe3\x81\x82; Action")
permit (principal, action == ?action, resource in ?resource)
when { context.network.zone == ?zone && context.time.day >= ?from && context.time.day <= ?until }
when { context.proofing.age_days < ?n };
"""
_LINK: Final = b"""
[[link]]
id = "a"
template = "t"
resource = "ehr"
values = { zone = "ward", from = "2026-12-01", until = "2026-12-02", n = 4, action = "read" }
"""
_PLAIN: Final = policy("plain", "context.device.registered").encode()


def _compiled(links: bytes, templates: bytes) -> Bundle | None:
    files = {SCHEMA_FILE: cedar_schema().encode(), "a.cedar": _PLAIN, "t.cedar": templates, LINKS_FILE: links}
    try:
        return compile_bundle(files, "b")
    except BundleError as error:
        for problem in problems_of(error):
            assert problem.where.startswith("b")
            assert problem.todo
            assert str(problem).isprintable()
        return None


def links(data: bytes) -> None:
    """Refused with its place, or as many policies as there are links, each what Cedar makes of it, and written again the same."""
    bundle = _compiled(data, _TEMPLATES)
    if bundle is None:
        return
    found = read_links(data, LINKS_FILE)
    assert [one.id for one in bundle.policies] == ["plain", *(link.id for link in found)]
    (template,) = bundle.templates
    for link, made in zip(found, bundle.policies[1:], strict=True):
        assert made.template == "t"
        assert (made.title_ja + made.title_en).isprintable()
        (ours,) = cedarpy.PolicySet.from_str(made.cedar).to_pst().static_policies.values()
        (theirs,) = linked_by_cedar(link, template).to_pst().static_policies.values()
        assert (ours.principal, ours.action, ours.resource, ours.clauses) == (
            theirs.principal,
            theirs.action,
            theirs.resource,
            theirs.clauses,
        )
    written = read_links("\n".join(map(write_link, found)).encode(), LINKS_FILE)
    assert [msgspec.structs.replace(link, line=0) for link in written] == [
        msgspec.structs.replace(link, line=0) for link in found
    ]


def templates(data: bytes) -> None:
    """Refused with its place, or the link beside it is a policy, and no template is one."""
    bundle = _compiled(_LINK, data)
    if bundle is None:
        return
    ids = [one.id for one in bundle.policies]
    assert ids[0] == "plain"
    assert ids[-1] == "a"
    assert not {template.id for template in bundle.templates} & set(ids)
    assert all("?" not in token for one in bundle.policies[-1:] for token in one.cedar.split() if '"' not in token)


BUNDLE_TARGETS: Final[Mapping[str, Callable[[bytes], Any]]] = {"links": links, "templates": templates}
