"""The verifier's pure core: says whether a log is whole, and if not, where.

It shares no code with the writer: the line format, the hashes, the tree and the signatures are written here a second time from
their description (docs/log.md), so that a mistake in one of them is not made twice. It reads no file and no clock.
"""

from gateway.audit.verify.crash import TornFile
from gateway.audit.verify.report import Code, Finding, Overall, Report
from gateway.audit.verify.roll import Roll, slot_file
from gateway.audit.verify.walk import Evidence, Segment, verify

__all__ = ["Code", "Evidence", "Finding", "Overall", "Report", "Roll", "Segment", "TornFile", "slot_file", "verify"]
