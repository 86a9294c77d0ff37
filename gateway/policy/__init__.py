"""Policies: Cedar bundles, one evaluation function, and the remedy that asks it hypothetically."""
