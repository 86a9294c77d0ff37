"""What only `gateway demo` has: synthetic people and patients, sample apps, the simulated verifier's switch."""
