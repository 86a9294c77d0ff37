"""From a decision to a reply: the one error mapper, and the pages."""

from gateway.present.mapper import Presenter, Reply

__all__ = ["Presenter", "Reply"]
