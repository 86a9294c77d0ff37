"""What a person can prove, and how it is checked. Pure: time and randomness come in as arguments, nothing is stored here."""
