"""What the log looks like outside: CSV for a person with a spreadsheet, JSON Lines for a program."""
