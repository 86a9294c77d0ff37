"""The doors that Envoy's `ext_authz` filter asks, over HTTP or gRPC."""

from gateway.doors.envoy.grpc import EnvoyGrpcDoor
from gateway.doors.envoy.http import EnvoyHttpDoor

__all__ = ["EnvoyGrpcDoor", "EnvoyHttpDoor"]
