"""The embedded proxy: the door through which browsers reach the applications, the portal and the identity provider."""

from gateway.doors.proxy.door import ProxyDoor, ProxyLimits, create_proxy

__all__ = ["ProxyDoor", "ProxyLimits", "create_proxy"]
