"""The security officer's and auditor's pages: an app behind the gateway like any other, reached on a loopback address."""

from gateway.console.app import create_console
from gateway.console.parts import ConsoleParts, InForce
from gateway.console.routes import console_app

__all__ = ["ConsoleParts", "InForce", "console_app", "create_console"]
