"""Identity-aware access gateway for hospital record systems."""

__version__ = "0.1.0"
