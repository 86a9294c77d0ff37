"""How the gateway connects to Redis: URLs, TLS, passwords, and what it says about the server's settings."""

import datetime as dt
import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.kernel.errors import ConfigError, StoreUnavailable
from gateway.kernel.secret import Secret
from gateway.sessions.redis_link import RedisLink
from tests.support.ports import free_port
from tests.support.redis import RedisServer, running_redis


async def warnings_of(url: str, *settings: str) -> list[str]:
    """Return what `check` says after these CONFIG SET pairs."""
    link = RedisLink(Secret(url), time_limit_seconds=10)
    try:
        for name, value in zip(settings[::2], settings[1::2], strict=True):
            await link.command("CONFIG", "SET", name, value)
        return await link.check()
    finally:
        await link.close()


# ---------------------------------------------------------------- URLs


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1",
        "redis://127.0.0.1:6380/3",
        "rediss://user:p%40ss@redis.example:6379/0",
        "rediss://:hunter2@redis.example/?ssl_ca_certs=/etc/gateway/redis-ca.pem",
        "unix:///run/redis/redis.sock",
        "unix://user:hunter2@/run/redis/redis.sock?db=2",
    ],
)
def test_good_urls_are_taken(url: str) -> None:
    RedisLink(Secret(url))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "scheme"),
        ("127.0.0.1:6379", "scheme"),
        ("http://user:hunter2@127.0.0.1", "scheme"),
        ("valkey://user:hunter2@127.0.0.1", "scheme"),
        ("redis://", "host is missing"),
        ("redis://:hunter2@", "host is missing"),
        ("unix://", "path of the socket"),
        ("redis://user:hunter2@127.0.0.1:port", "parsed"),
        ("redis://user:hunter2@127.0.0.1:99999", "parsed"),
        ("redis://user:hunter2@[::1", "parsed"),
        ("redis://user:hunter2@127.0.0.1/one", "database"),
        ("redis://user:hun#ter2@127.0.0.1", "scheme|#|parsed"),
        ("rediss://user:hunter2@redis.example?ssl_cert_reqs=none", "query"),
        ("rediss://user:hunter2@redis.example?ssl_check_hostname=false", "query"),
        ("redis://user:hunter2@127.0.0.1?socket_timeout=99999", "query"),
        ("redis://user:hunter2@127.0.0.1?ssl_cert_reqs=", "query"),
    ],
)
def test_a_url_that_would_mislead_is_refused_without_showing_its_password(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        RedisLink(Secret(url))
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "rediss://" in str(caught.value)


@pytest.mark.parametrize("namespace", ["", "A", "a b", "a:b", "*", "-a", "x" * 64])
def test_a_namespace_out_of_shape_is_refused(namespace: str) -> None:
    with pytest.raises(ConfigError, match="namespace"):
        RedisLink(Secret("redis://127.0.0.1"), namespace=namespace)


async def test_nothing_listening_is_unavailable_and_the_error_shows_no_password() -> None:
    link = RedisLink(Secret("redis://user:hunter2@127.0.0.1:1/0"))
    with pytest.raises(StoreUnavailable) as caught:
        await link.check()
    assert "hunter2" not in str(caught.value)
    assert "127.0.0.1" not in caught.value.what
    assert "127.0.0.1:1" in str(caught.value)
    await link.close()


# ---------------------------------------------------------------- passwords and TLS


async def test_a_wrong_or_missing_password_is_unavailable() -> None:
    with running_redis("--requirepass", "correct horse") as server:
        base = str(server.socket_path)
        assert await warnings_of(f"unix://:correct%20horse@{base}") == []
        for url in (f"unix://{base}", f"unix://:battery@{base}", f"unix://nobody:hunter2@{base}"):
            with pytest.raises(StoreUnavailable) as caught:
                await warnings_of(url)
            assert "battery" not in str(caught.value)
            assert "hunter2" not in str(caught.value)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """Yield the port of a Redis that speaks TLS only, and the file of the CA that vouches for it (for 127.0.0.1)."""
    folder = tmp_path_factory.mktemp("redis-tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis of a test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "redis.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "redis.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    port = free_port()
    options = ("--tls-port", str(port), "--bind", "127.0.0.1", "--tls-auth-clients", "no", "--requirepass", "hunter2")
    pair = ("--tls-cert-file", str(folder / "redis.crt"), "--tls-key-file", str(folder / "redis.key"))
    with running_redis(*options, *pair, "--tls-ca-cert-file", str(folder / "redis.crt")):
        yield port, folder / "redis.crt"


async def test_tls_with_the_right_ca_works(tls: tuple[int, Path]) -> None:
    port, ca = tls
    assert await warnings_of(f"rediss://:hunter2@127.0.0.1:{port}/0?ssl_ca_certs={ca}") == []


async def test_tls_is_verified_ca_and_name(tls: tuple[int, Path]) -> None:
    port, ca = tls
    for url in (
        f"rediss://:hunter2@127.0.0.1:{port}/0",
        f"rediss://:hunter2@localhost:{port}/0?ssl_ca_certs={ca}",
        f"redis://:hunter2@127.0.0.1:{port}/0",
    ):
        with pytest.raises(StoreUnavailable):
            await warnings_of(url)


# ---------------------------------------------------------------- settings


async def test_a_well_set_server_raises_no_warning(own_redis: RedisServer) -> None:
    assert await warnings_of(own_redis.url) == []


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (("maxmemory-policy", "allkeys-lru"), "noeviction"),
        (("appendfsync", "everysec"), "last second"),
        (("appendonly", "no"), "signs everybody out"),
        (("appendonly", "no", "save", "60 1"), "brings back sessions revoked"),
    ],
)
async def test_settings_that_could_lose_or_revive_sessions_are_told(
    own_redis: RedisServer, settings: tuple[str, ...], says: str
) -> None:
    warnings = await warnings_of(own_redis.url, *settings)
    assert len(warnings) == 1
    assert says in warnings[0]


async def test_settings_that_may_not_be_read_are_told(own_redis: RedisServer) -> None:
    assert await warnings_of(own_redis.url) == []
    link = RedisLink(Secret(own_redis.url), time_limit_seconds=10)
    await link.command("ACL", "SETUSER", "gateway", "on", ">hunter2", "~*", "&*", "+@all", "-config")
    await link.close()
    warnings = await warnings_of(f"unix://gateway:hunter2@{own_redis.socket_path}")
    assert len(warnings) == 1
    assert "CONFIG GET" in warnings[0]


async def test_a_replica_is_refused(own_redis: RedisServer) -> None:
    link = RedisLink(Secret(own_redis.url), time_limit_seconds=10)
    await link.command("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(ConfigError, match="primary"):
        await link.check()
    await link.close()


async def test_a_connection_in_the_clear_and_without_password_is_told() -> None:
    link = RedisLink(Secret("redis://redis.example:6379/0"))
    warnings = link._transport_warnings()
    assert len(warnings) == 2
    assert "rediss://" in warnings[0]
    assert "password" in warnings[1]
    assert RedisLink(Secret("rediss://:hunter2@redis.example"))._transport_warnings() == []
