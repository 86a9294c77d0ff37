"""Session stores and one-time stores: memory and Redis, one contract."""
