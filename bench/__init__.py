"""`make bench`: what the gateway costs, measured beside what it is compared with, on one machine in one run.

docs/performance.md says what is measured and how. Nothing of this is part of the product or of the tests.
"""
