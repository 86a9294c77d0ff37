"""The log: append-only segments, a hash chain, a Merkle tree, signed checkpoints, formats out, and a verifier of its own."""
