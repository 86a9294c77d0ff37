"""Every key of a TOML text is found on the line where it stands."""

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.locate import KeyPath, Locations, dotted


def line_of(text: str, *path: str | int) -> int:
    return Locations(text).line(path)


def every_path(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in items:
        yield from every_path(inner, (*path, step))


SAMPLE = '''\
# a comment with [brackets] = "and quotes
top = 1
"quoted key" = """
not = "a key"
[neither.this]
""" # comment
literal.'dotted . key' = \'\'\'
x = 1\'\'\'
[server] # header comment
  host = "a # b"
  tls.cert = 'C:\\path'
  list = [ # comment ]
    "one",   [2, 3],
    { inner = 4, "in.ner" = { deep = [5] } },
  ]
[[apps]]
id = "ehr"
  [[apps.routes]]
  id = "ehr.home"
  [[ apps . routes ]]
  id = "ehr.chart"
  [apps.headers]
  "X-\\u0041" = "login"
[[apps]]
id = "imaging"
  [[apps.routes]]
  when = 2026-01-01T00:00:00Z
  ends = """quote at the end \\""""""
  after = true
[network.zones]
ward = ["10.0.0.0/8"]
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 2),
        (("quoted key",), 3),
        (("literal",), 7),
        (("literal", "dotted . key"), 7),
        (("server",), 9),
        (("server", "host"), 10),
        (("server", "tls", "cert"), 11),
        (("server", "list"), 12),
        (("server", "list", 0), 13),
        (("server", "list", 1, 1), 13),
        (("server", "list", 2, "inner"), 14),
        (("server", "list", 2, "in.ner", "deep", 0), 14),
        (("apps",), 16),
        (("apps", 0), 16),
        (("apps", 0, "routes", 0, "id"), 19),
        (("apps", 0, "routes", 1), 20),
        (("apps", 0, "routes", 1, "id"), 21),
        (("apps", 0, "headers", "X-A"), 23),
        (("apps", 1), 24),
        (("apps", 1, "routes", 0, "when"), 27),
        (("apps", 1, "routes", 0, "after"), 29),
        (("network",), 30),
        (("network", "zones", "ward", 0), 31),
    ],
)
def test_each_construct(path: KeyPath, line: int) -> None:
    assert Locations(SAMPLE).line(path) == line


def test_the_sample_has_exactly_the_paths_that_tomllib_reads() -> None:
    assert Locations(SAMPLE).paths() == frozenset(every_path(tomllib.loads(SAMPLE)))


def test_a_missing_key_is_located_at_its_table() -> None:
    assert line_of("\n\n[server]\nhost = 1\n", "server", "port") == 3
    assert line_of("\n\n[server]\nhost = 1\n", "nowhere", "at", "all") == 1


def test_windows_newlines() -> None:
    assert line_of("a = 1\r\n[b]\r\nc = [\r\n1,\r\n2]\r\nd = 2\r\n", "b", "d") == 6


def test_a_repeated_key_names_its_first_line() -> None:
    assert Locations("[s]\nport = 1\nhost = 2\nport = 3\n").repeated(4) == ("s.port", 2)
    assert Locations("[s]\nport = 1\n[t]\n[s]\n").repeated(4) == ("s", 1)
    assert Locations("[s]\nport = 1\n[t]\n").repeated(3) is None


@pytest.mark.parametrize(
    "text", ["= 1", "a = ", "a = [1", "[a", "a = {b = 1", 'a = "x', "a b = 1", "a = '''x", "[[a]\nb=1", 'a = "\\']
)
def test_malformed_text_ends_the_scan_quietly(text: str) -> None:
    with pytest.raises(tomllib.TOMLDecodeError):
        tomllib.loads(text)
    assert Locations("before = 1\n" + text).line(("before",)) == 1


def test_dotted_counts_from_one() -> None:
    assert dotted(("apps", 0, "routes", 2, "id")) == "apps[1].routes[3].id"


# ---------------------------------------------------------------- any document

_text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=8)
_bare = st.text("abcXYZ09_-", min_size=1, max_size=5)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_key = st.one_of(_bare.map(lambda k: (k, k)), _text.map(lambda k: (k, _quoted(k))))
_scalar = st.one_of(
    st.integers(-999, 999).map(str),
    st.sampled_from(["true", "1.5", "2026-01-01", "'lit # [x]'", '"""\n[no]\nno = 1\n"""', "'''\n# ' '''"]),
    _text.map(_quoted),
)
_value = st.recursive(
    _scalar,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[ # c ]\n" + ",\n".join(items) + "\n]"),
        st.lists(st.tuples(_key, inner), max_size=3, unique_by=lambda pair: pair[0][0]).map(
            lambda pairs: "{ " + ", ".join(f"{key[1]} = {value}" for key, value in pairs) + " }"
        ),
    ),
    max_leaves=6,
)
_pairs = st.lists(st.tuples(_key, _value), max_size=4, unique_by=lambda pair: pair[0][0])


@st.composite
def documents(draw: st.DrawFn) -> str:
    lines = [f"{key[1]} = {value} # c" for key, value in draw(_pairs)]
    for number in range(draw(st.integers(0, 3))):
        name = f"table{number}."  # a prefix keeps headers apart from the keys above
        kind, key = draw(st.sampled_from(["[{}]", "[[{}]]"])), draw(_key)[1]
        for _ in range(draw(st.integers(1, 2)) if kind == "[[{}]]" else 1):
            lines.append(kind.format(name + key))
            lines += [f"{k[1]} = {value}" for k, value in draw(_pairs)]
    return "\n".join(lines) + "\n"


@given(documents())
def test_any_document_has_exactly_the_paths_that_tomllib_reads(text: str) -> None:
    locations = Locations(text)
    paths = frozenset(every_path(tomllib.loads(text)))
    assert locations.paths() == paths
    lines = text.split("\n")
    for path in paths:
        if isinstance(path[-1], str) and path[-1].isascii() and path[-1].replace("_", "").isalnum():
            assert path[-1] in lines[locations.line(path) - 1]


@given(st.text())
def test_no_text_breaks_the_scanner(text: str) -> None:
    Locations(text)
