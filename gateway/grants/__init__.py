"""Grants: access for a person for a time, asked for by one and approved by another; and the emergency of the whole hospital."""
