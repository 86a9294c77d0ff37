"""The door for nginx's `auth_request`."""

from gateway.doors.nginx.door import NginxDoor

__all__ = ["NginxDoor"]
