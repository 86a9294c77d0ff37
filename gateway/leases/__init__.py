"""What fronts did with our answers: each request that nginx forwards leaves a record, also under a lease."""
