"""Which browser the tests drive: the machine's own. Playwright's would be a download."""

import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""The same as in deploy/dev/servers.sh."""


def find_chromium() -> str:
    """Return the path of the first that is there."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise RuntimeError("there is no Chromium: run `make setup-test`, or install the Debian package chromium")
    return found
