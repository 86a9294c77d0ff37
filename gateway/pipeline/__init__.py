"""Gather, decide, record, answer: the one decision function behind every door."""

from gateway.pipeline.decide import Pipeline
from gateway.pipeline.streams import StreamWatch

__all__ = ["Pipeline", "StreamWatch"]
