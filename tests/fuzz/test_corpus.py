"""The fuzz targets over the committed corpus, and a bounded number of mutations of it: the same ones each time."""

import random

import pytest

from gateway.domain.connection import Connection
from gateway.domain.request import Request
from tests.fuzz.__main__ import CORPUS, corpus_of
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import TARGETS, _assert_one_reading

ROUNDS = 4_000


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_and_its_neighbours(name: str) -> None:
    corpus = corpus_of(name)
    assert len(corpus) >= 10
    chance = random.Random(20_261_123)  # noqa: S311  inputs need no secret randomness
    for data in [*corpus, *(mutated(chance, corpus) for _ in range(ROUNDS))]:
        try:
            TARGETS[name](data)
        except Exception as error:
            raise AssertionError(f"{data!r}: {error!r}") from error


def test_every_corpus_belongs_to_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)


def test_a_second_reading_is_noticed() -> None:
    request = Request(
        method="GET",
        host="ehr.localhost",
        path="/public/../admin",
        query="",
        has_query=False,
        segments=("public", "..", "admin"),
        headers=(),
        connection=Connection(peer_address="192.0.2.1"),
    )
    with pytest.raises(AssertionError):
        _assert_one_reading(request, "/public/../admin")
