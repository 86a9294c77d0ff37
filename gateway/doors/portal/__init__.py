"""The gateway's own pages: the portal, sign-in hand-over, device registration, sign-out. Mounted by the proxy door."""

from gateway.doors.portal.app import Portal
from gateway.doors.portal.parts import Parts

__all__ = ["Parts", "Portal"]
