"""A sample order entry: tests and procedures, that they were carried out, and narcotics."""
