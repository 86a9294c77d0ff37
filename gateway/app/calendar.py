"""The hospital's calendar, as the configuration has it."""

from gateway.config import Config
from gateway.pipeline.calendar import Calendar


def calendar_of(config: Config) -> Calendar:
    """Return what the section `[policies]` makes of a moment."""
    policies = config.policies
    return Calendar(policies.timezone, own=policies.holidays, national=policies.national_holidays, shifts=policies.shifts)
