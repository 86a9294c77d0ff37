"""Doors turn bytes or headers into facts and decisions into replies. They only translate."""
