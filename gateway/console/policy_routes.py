"""The routes of the pages about changes of the policies, and about people, as the gateway knows them.

Looking is `read`, also for what is only checked while it is typed (a POST, because a file does not fit into an address).
Drafting is `write`: nothing of it counts for anybody. What puts something in force, or says a word on the way to it, is
`administer`.
"""

from typing import Final, Literal

from gateway.domain.route import Route

_DRAFT: Final = ("policies", "drafts", "{draft}")


def _route(
    name: str, action: Literal["read", "write", "administer"], *pattern: str, method: Literal["GET", "POST"] = "GET"
) -> Route:
    sensitivity: Literal["normal", "high"] = "high" if action == "administer" else "normal"
    return Route(id=f"console.{name}", app="console", methods=(method,), pattern=pattern, action=action, sensitivity=sensitivity)


def routes() -> tuple[Route, ...]:
    """Return them."""
    return (
        _route("policy-history", "read", "policies", "history"),
        _route("policy-compare", "read", "policies", "compare"),
        _route("policy-version", "read", "policies", "versions", "{number}"),
        _route("policy-back", "read", "policies", "versions", "{number}", "back"),
        _route("policy-rollback", "administer", "policies", "versions", "{number}", "back", method="POST"),
        _route("policy-watch", "read", "policies", "watch"),
        _route("policy-watch-stream", "read", "policies", "watch", "stream"),
        _route("drafts", "read", "policies", "drafts"),
        _route("draft-begin", "write", "policies", "drafts", method="POST"),
        _route("draft", "read", *_DRAFT),
        _route("draft-edit", "read", *_DRAFT, "edit", "**"),
        _route("draft-policy", "read", *_DRAFT, "policies", "{policy}"),
        _route("draft-check", "read", *_DRAFT, "check", method="POST"),
        _route("draft-save", "write", *_DRAFT, "save", method="POST"),
        _route("draft-file", "write", *_DRAFT, "files", method="POST"),
        _route("draft-change", "write", *_DRAFT, "policies", "{policy}", method="POST"),
        _route("draft-template", "read", *_DRAFT, "templates", "{template}"),
        _route("draft-link-add", "write", *_DRAFT, "templates", "{template}", method="POST"),
        _route("draft-link", "read", *_DRAFT, "links", "{link}"),
        _route("draft-link-change", "write", *_DRAFT, "links", "{link}", method="POST"),
        _route("draft-case", "write", *_DRAFT, "cases", method="POST"),
        _route("draft-about", "write", *_DRAFT, "about", method="POST"),
        _route("draft-update", "write", *_DRAFT, "update", method="POST"),
        _route("draft-withdraw", "write", *_DRAFT, "withdraw", method="POST"),
        _route("draft-submit", "administer", *_DRAFT, "submit", method="POST"),
        _route("draft-approve", "administer", *_DRAFT, "approve", method="POST"),
        _route("draft-decline", "administer", *_DRAFT, "decline", method="POST"),
        _route("draft-publish", "administer", *_DRAFT, "publish", method="POST"),
        _route("draft-trial", "administer", *_DRAFT, "trial", method="POST"),
        _route("draft-trial-end", "administer", *_DRAFT, "trial-end", method="POST"),
        _route("people", "read", "people"),
        _route("person", "read", "people", "{subject}"),
    )
