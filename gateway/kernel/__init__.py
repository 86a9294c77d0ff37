"""Leaf utilities that every other part may use: clock, ids, secrets, errors, canonical bytes, languages."""
