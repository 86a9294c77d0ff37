"""Rules of the listeners: where people and fronts connect, and how fronts prove who they are. Pure."""

from collections.abc import Iterator
from typing import Final

from gateway.config.locate import KeyPath, dotted
from gateway.config.model import Config, FrontListener

Found = tuple[KeyPath, str, str]
"""Where, what, and what to do."""

_OF_THE_LOG: Final = ("access_log", "access_log_state", "status_socket")
_ADDRESS: Final = ("host", "port", "certificate_file", "key_file", "client_ca_file", "client_names")
"""What a front's listener on an address needs: whoever can reach it must show a certificate."""


def front_listeners(config: Config) -> list[tuple[KeyPath, FrontListener]]:
    """Return every listener for fronts, with its place."""
    front: list[tuple[KeyPath, FrontListener]] = []
    if config.server.front is not None:
        front.append((("server", "front"), config.server.front))
    return front + [(("doors", index), door) for index, door in enumerate(config.doors)]


def find_in_listeners(config: Config) -> Iterator[Found]:
    """Yield every rule that is broken."""
    server = config.server
    if server.port is None and server.front is None:
        yield ("server",), "nobody could reach the gateway", "Add a port to [server], or a [server.front]."
    if server.port is None and server.tls is not None:
        yield ("server", "tls"), "[server.tls] has no port to serve", "Add a port to [server], or remove [server.tls]."
    if config.doors and server.front is None:
        yield (
            ("doors", 0),
            "a front that asks needs a way to the gateway's own pages, and for WebSockets",
            "Add [server.front].",
        )
    for path, listener in front_listeners(config):
        yield from _listener(path, listener)
        yield from _device_ca(config, path, listener)
    yield from _access_log(config)
    yield from _taken(config)


def _listener(path: KeyPath, listener: FrontListener) -> Iterator[Found]:
    name = dotted(path)
    given = [key for key in _ADDRESS if getattr(listener, key)]
    if bool(given) == (listener.socket is not None):
        yield path, f"[{name}] listens either on a socket or on an address with mTLS", "Give one of the two."
    elif listener.socket is not None and not listener.trusted_uids:
        yield path, f"[{name}] trusts no user, and nobody is trusted by default", "Add trusted_uids = [UID] of the front."
    elif given and len(given) < len(_ADDRESS):
        missing = ", ".join(key for key in _ADDRESS if key not in given)
        yield path, f"[{name}] needs {missing} too: a front on an address proves itself by mTLS", "Add it, or use a socket."
    if given and listener.trusted_uids:
        yield (*path, "trusted_uids"), "an address shows no user id", "Use client_names, or a socket."


def _device_ca(config: Config, path: KeyPath, listener: FrontListener) -> Iterator[Found]:
    tls = config.server.tls
    if listener.client_ca_file is not None and tls is not None and listener.client_ca_file == tls.client_ca_file:
        yield (
            (*path, "client_ca_file"),
            "the CA of devices would vouch for fronts: a device could speak for everybody",
            "Give the fronts a CA of their own.",
        )


def _access_log(config: Config) -> Iterator[Found]:
    nginx = [index for index, door in enumerate(config.doors) if door.kind == "nginx"]
    for index in nginx[1:]:
        yield ("doors", index), "there is an nginx door already", "One serves any number of nginx workers; remove this one."
    for index, door in enumerate(config.doors):
        path: KeyPath = ("doors", index)
        given = [key for key in _OF_THE_LOG if getattr(door, key) is not None]
        if given and door.kind != "nginx":
            yield (*path, given[0]), f"a door of kind {door.kind} has no access log that we read", "Remove it."
        elif given and (door.access_log is None or door.access_log_state is None):
            missing = "access_log" if door.access_log is None else "access_log_state"
            yield path, f"{given[0]} needs {missing} too", f"Add {missing}, or remove {given[0]}."


def _taken(config: Config) -> Iterator[Found]:
    seen: dict[object, KeyPath] = {}
    if config.server.port is not None:
        seen[config.server.host, config.server.port] = ("server", "port")
    for path, listener in front_listeners(config):
        place: object = listener.socket if listener.socket is not None else (listener.host, listener.port)
        key = "socket" if listener.socket is not None else "port"
        if place in seen and place != (None, None):
            line = config.locations.line(seen[place])
            yield (*path, key), f"that is where line {line} listens already", "Choose another."
        seen.setdefault(place, (*path, key))
