"""The pure vocabulary of the gateway: what arrives, who asks, from what, and what was decided. No I/O, no clock."""
