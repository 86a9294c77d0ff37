"""The database for what must last beside the log: policy changes, grants, break-glass reviews. SQLite, or PostgreSQL for several
machines.
"""
