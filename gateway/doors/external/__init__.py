"""What all doors share that are asked by another proxy before it forwards: who asks, what about, and the one decision."""

from gateway.doors.external.core import Asking, Known, Settled
from gateway.doors.external.listener import FrontListener

__all__ = ["Asking", "FrontListener", "Known", "Settled"]
