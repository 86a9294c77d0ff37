"""The door for a proxy that asks before it forwards."""

from gateway.doors.forward_auth.door import ForwardAuthDoor

__all__ = ["ForwardAuthDoor"]
