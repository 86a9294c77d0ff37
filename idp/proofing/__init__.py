"""Identity proofing (eKYC): the port, what is kept of a result, and the backends."""
