"""The log: append-only segments, a Merkle tree and a hash chain over them, signed checkpoints, formats out, and a verifier of its own."""
