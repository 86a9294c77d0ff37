"""What wrk printed becomes numbers, or the run ends: a rate of errors is no rate."""

import pytest

from bench.children import BenchError
from bench.load import parse_wrk

SAID = """\
Running 1s test @ http://127.0.0.1:9/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   263.93us  418.26us  11.53ms   96.25%
    Req/Sec   145.10k     9.07k  163.00k    63.64%
  Latency Distribution
     50%  172.00us
     75%  245.00us
     90%  401.00us
     99%    2.13ms
  158722 requests in 1.10s, 181.19MB read
Requests/sec: 144292.31
Transfer/sec:    164.72MB
"""


def test_a_round_is_read() -> None:
    found = parse_wrk(SAID, "url")
    assert (found.rate, found.total) == (144292.31, 158722)
    assert [found.p50, found.p99] == pytest.approx([172e-6, 2.13e-3])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("  Non-2xx or 3xx responses: 7\n", "Non-2xx or 3xx responses: 7"),
        ("  Socket errors: connect 0, read 3, write 0, timeout 0\n", "read 3"),
    ],
)
def test_a_round_with_anything_but_2xx_is_none(line: str, told: str) -> None:
    with pytest.raises(BenchError, match=told):
        parse_wrk(SAID.replace("Requests/sec", f"{line}Requests/sec"), "url")


def test_what_wrk_never_said_is_not_guessed() -> None:
    with pytest.raises(BenchError, match="something unknown"):
        parse_wrk(SAID.replace("Requests/sec", "Requests"), "url")
