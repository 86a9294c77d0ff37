"""Replay: the recorded facts of the log decided again by other policies: who would lose access, and who would gain it."""
