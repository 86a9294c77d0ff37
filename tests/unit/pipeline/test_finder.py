"""Routes are remembered by everything that finding them looks at."""

from gateway.domain.reason import RefuseReason
from gateway.domain.request import Request
from gateway.domain.route import Match, RouteTable
from gateway.pipeline.finder import MAX_LINE, Finder
from tests.support.world import World, ehr


class Counted(RouteTable):
    """Counts how often it is asked."""

    asked = 0

    def find(self, request: Request) -> Match | RefuseReason:
        self.asked += 1
        return super().find(request)


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec_WebSocket_Version": "13",
}


def test_the_same_line_is_looked_for_once_and_another_is_another() -> None:
    world, table = World(), Counted([ehr()])
    finder = Finder(table)
    requests = [
        world.request("/patients"),
        world.request("/patients?"),
        world.request("/patients/p1"),
        world.request("/patients/p2"),
        world.request("/patients/p1", "HEAD"),
        world.request("/patients/p1/vitals/stream"),
        world.request("/patients/p1/vitals/stream", **UPGRADE),
        world.request("/patients/p1", "DELETE"),
        world.request("/nothing"),
    ]
    for request in requests:
        for _ in range(2):
            found, match = finder.find(request), RouteTable([ehr()]).find(request)
            assert (found if isinstance(found, RefuseReason) else found.match) == match
            if not isinstance(found, RefuseReason):
                assert (found.target.route, found.target.patient) == (found.match.route.id, found.match.patient)
    # "/patients" and "/patients?" have one route; the two that have none are looked for each time.
    assert table.asked == 6 + 2 * 2


def test_a_very_long_line_is_not_kept() -> None:
    world, table = World(), Counted([ehr()])
    finder = Finder(table)
    for _ in range(2):
        assert not isinstance(finder.find(world.request(f"/patients?{'x' * MAX_LINE}")), RefuseReason)
    assert table.asked == 2
