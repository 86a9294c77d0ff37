"""From a decision to a reply: the one error mapper, and the pages."""
