"""Which names a hospital's configuration knows. Plain data, made by whoever has the configuration."""

from collections.abc import Mapping
from typing import Final

import msgspec

from gateway.policy.facts import Action, Sensitivity


class KnownRoute(msgspec.Struct, frozen=True, kw_only=True):
    """One route of one application, the console's included."""

    id: str
    app: str
    action: Action
    sensitivity: Sensitivity = "normal"


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """Names that exist. None: nobody told, and no name of that kind is said to be unknown."""

    routes: tuple[KnownRoute, ...] | None = None
    roles: tuple[str, ...] | None = None
    zones: tuple[str, ...] | None = None
    """Without `other`, which there always is."""
    shifts: tuple[str, ...] | None = None
    grants: tuple[str, ...] | None = None

    @property
    def apps(self) -> tuple[str, ...] | None:
        """Applications, in the order of their routes."""
        return None if self.routes is None else tuple(dict.fromkeys(route.app for route in self.routes))

    def names(self, kind: str) -> tuple[str, ...] | None:
        """Return the known names of a kind (`role`, `app`, `route`, `zone`, `shift`, `grant`); None where nobody told."""
        given: Mapping[str, tuple[str, ...] | None] = {
            "role": self.roles,
            "app": self.apps,
            "route": None if self.routes is None else tuple(route.id for route in self.routes),
            "zone": None if self.zones is None else (*self.zones, "other"),
            "shift": self.shifts,
            "grant": self.grants,
        }
        return given.get(kind)


NOTHING: Final = Known()
