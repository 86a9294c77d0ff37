"""The sample record system (EHR) of the demo: an app as somebody else would write it, with synthetic patients only.

It has no users, sessions or permissions of its own. It believes the gateway's assertion, and leaves who may do what to the
gateway's policies.
"""

from gateway.demo.ehr.app import create_ehr

__all__ = ["create_ehr"]
