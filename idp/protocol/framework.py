"""The name of the rules by which people are proofed with this software."""

from typing import Final

TRUST_FRAMEWORK: Final = "urn:zt-gateway:trust-framework:staff-proofing:1"
"""Ours: how a hospital proofs its own staff. None of the registered ones (`jp_aml`, `jp_mpiupa`): those are for customers, under
laws whose procedure is another.
"""
