"""How long a revoked person still gets in under a lease: `python -m bench.lease_bound`.

A real nginx with the generated configuration, `@lease("5s")`, a page that is asked for without pause under its lease. Each time
the session is revoked in the store, as another node would; counted is from then until the last request that was let through
began. Once with the file that stops leases, once with nginx looking for another one, so that only the lease's own end is left.
"""

import argparse
import http
import itertools
import statistics
import sys
import threading
import time
from typing import Final

from gateway.sessions.redis import RedisSessions
from tests.support import nginx
from tests.support.fronts import Door
from tests.support.fronts_site import POLICIES, Site, open_site
from tests.support.raw import Line

LEASE: Final = 5
LEASED: Final = POLICIES.replace('@id("everything")', f'@id("everything")\n@lease("{LEASE}s")')
REQUESTS: Final = 900
"""On one connection; nginx ends it after 1,000."""
QUIET_SECONDS: Final = LEASE + 1.0


def revoked_until_refused(site: Site, door: Door) -> float:
    """Seconds from a revocation to the beginning of the last request that was let through; 0 when there was none."""
    session, cookie = site.sign_in()
    with door.line() as line:
        for _ in range(50):
            let_through(line, door, cookie)
    revoked: list[float] = []

    async def revoke(store: RedisSessions) -> None:
        await store.revoke(session.id)
        revoked.append(time.monotonic())

    # Beside the requests: making a connection to the store takes longer than the revocation.
    revoking = threading.Thread(target=site.with_sessions, args=(revoke,))
    revoking.start()
    last = 0.0
    line = door.line()
    for asked in itertools.count(1):
        if asked % REQUESTS == 0:
            line.close()
            line = door.line()
        began = time.monotonic()
        if not let_through(line, door, cookie):
            break
        last = began
    line.close()
    revoking.join()
    return max(0.0, last - revoked[0])


def let_through(line: Line, door: Door, cookie: str) -> bool:
    """Ask once on this connection."""
    line.send(door.head("/leased", cookie=cookie))
    return line.reply().status == http.HTTPStatus.OK


def measure(count: int, *, hold: bool) -> list[float]:
    """Revoke so often; each one's seconds."""
    with open_site(nginx.FOLLOWED, LEASED) as site, nginx.with_nginx(site) as front:
        if not hold:
            text = front.file.read_text("utf-8").replace("nginx.sock.no-lease", "nginx.sock.nothing")
            front.stop()
            front.file.write_text(text, "utf-8")
            front.start()
        door = Door("nginx", site, site.port, asked=True)
        time.sleep(2)  # somebody follows the access log now, so there are leases
        found = []
        for _ in range(count):
            found.append(revoked_until_refused(site, door))
            time.sleep(QUIET_SECONDS)  # until leases are given again
        return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=24)
    count = parser.parse_args().count
    for name, hold in (("called back", True), ("its own end only", False)):
        found = measure(count, hold=hold)
        line = f"{name:18} p50 {statistics.median(found) * 1000:8.1f} ms   max {max(found) * 1000:8.1f} ms   of {len(found)}"
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
