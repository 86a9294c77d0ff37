"""Break-glass: access beyond the usual rules in an emergency, for an hour, told to officers at once and reviewed afterwards."""
