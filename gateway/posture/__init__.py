"""Device registry and what a request showed of its device."""
