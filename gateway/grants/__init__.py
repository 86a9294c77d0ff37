"""Grants: access for a limited time that one person asks for and another, a security officer, approves. And the emergency that an
officer declares for the whole hospital.
"""
