"""The generic forward-auth door: another proxy asks before it forwards (Traefik `forwardAuth`, Caddy `forward_auth`)."""

from gateway.doors.forward_auth.door import ForwardAuthDoor, create_forward_auth

__all__ = ["ForwardAuthDoor", "create_forward_auth"]
