"""What counts as proof of a device, and what does not."""

import itertools
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from cryptography import x509

from gateway.domain.connection import Connection
from gateway.domain.identity import Handle
from gateway.domain.posture import STRENGTH, Device, Posture
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import StoreUnavailable
from gateway.posture.observe import RegistryPosture, certificate_sha256, judge
from gateway.posture.registry import SqliteDevices
from tests.support.devices import NOW, client_certificate, new_device
from tests.support.sessions import EHR, new_session

Evidence = Literal["none", "cookie", "key"]
CERTIFICATE = b"der of a certificate that TLS verified"
MEANS = {"cookie_hash": "aa" * 32, "key_jwk": "{}"}


def handle(
    device: Device | None = None, evidence: Evidence = "none", *, device_generation: int = 1, generation: int = 1
) -> Handle:
    session = msgspec.structs.replace(
        new_session(NOW),
        device_id=device.id if device is not None else None,
        device_evidence=evidence,
        device_generation=device_generation,
        generation=max(device_generation, generation),
    )
    return Handle(session=session, host=EHR, generation=generation)


def test_nothing_shown_is_nothing() -> None:
    assert judge(handle=handle(), certificate=None, by_certificate=None, by_session=None) == Posture()


@pytest.mark.parametrize("evidence", ["cookie", "key"])
def test_the_sessions_own_evidence_counts_for_an_active_device(evidence: Evidence) -> None:
    device = new_device(**MEANS)
    shown = judge(handle=handle(device, evidence), certificate=None, by_certificate=None, by_session=device)
    assert shown == Posture(device=device, evidence=evidence)


def test_a_device_named_without_evidence_is_nothing() -> None:
    device = new_device(**MEANS)
    assert judge(handle=handle(device, "none"), certificate=None, by_certificate=None, by_session=device) == Posture()


def test_a_device_that_proved_itself_after_this_handle_was_issued_is_nothing() -> None:
    device = new_device(**MEANS)
    old = handle(device, "key", device_generation=2, generation=1)
    assert judge(handle=old, certificate=None, by_certificate=None, by_session=device) == Posture()


def test_a_device_that_the_registry_forgot_is_unknown() -> None:
    gone = handle(new_device(**MEANS), "cookie")
    assert judge(handle=gone, certificate=None, by_certificate=None, by_session=None) == Posture(note="unknown_device")


def test_another_device_does_not_stand_in_for_the_sessions_own() -> None:
    mine, other = new_device(**MEANS), new_device(**MEANS)
    shown = judge(handle=handle(mine, "cookie"), certificate=None, by_certificate=None, by_session=other)
    assert shown == Posture(note="unknown_device")


@pytest.mark.parametrize(("evidence", "lost"), [("cookie", "cookie_hash"), ("key", "key_jwk")])
def test_a_means_that_was_taken_from_the_device_no_longer_counts(evidence: Evidence, lost: str) -> None:
    device = new_device(**{**MEANS, lost: ""})
    shown = judge(handle=handle(device, evidence), certificate=None, by_certificate=None, by_session=device)
    assert shown == Posture(note="unknown_device")


@pytest.mark.parametrize("status", ["pending", "blocked"])
def test_a_pending_or_blocked_device_counts_as_not_registered(status: Literal["pending", "blocked"]) -> None:
    device = new_device(status=status, **MEANS)
    by_key = judge(handle=handle(device, "key"), certificate=None, by_certificate=None, by_session=device)
    assert by_key == Posture(note=status)
    by_certificate = judge(handle=handle(), certificate=CERTIFICATE, by_certificate=device, by_session=None)
    assert by_certificate == Posture(note=status)


def test_the_certificate_of_an_active_device_wins() -> None:
    terminal, other = new_device(certificate_sha256="cc" * 32), new_device(**MEANS)
    alone = judge(handle=handle(), certificate=CERTIFICATE, by_certificate=terminal, by_session=None)
    both = judge(handle=handle(other, "key"), certificate=CERTIFICATE, by_certificate=terminal, by_session=other)
    assert alone == both == Posture(device=terminal, evidence="certificate")


def test_a_certificate_that_nobody_registered_raises_nothing_and_takes_nothing() -> None:
    device = new_device(**MEANS)
    alone = judge(handle=handle(), certificate=CERTIFICATE, by_certificate=None, by_session=None)
    assert alone == Posture(note="certificate_unknown")
    beside = judge(handle=handle(device, "cookie"), certificate=CERTIFICATE, by_certificate=None, by_session=device)
    assert beside == Posture(device=device, evidence="cookie", note="certificate_unknown")


def test_a_pending_certificate_leaves_the_sessions_own_evidence() -> None:
    terminal, device = new_device(status="pending"), new_device(**MEANS)
    shown = judge(handle=handle(device, "key"), certificate=CERTIFICATE, by_certificate=terminal, by_session=device)
    assert shown == Posture(device=device, evidence="key", note="pending")


def test_a_blocked_device_is_not_outvoted_by_another_one() -> None:
    """A stolen machine's browser registers itself anew by cookie; or a blocked browser gets hold of a certificate."""
    blocked, active = new_device(status="blocked", **MEANS), new_device(**MEANS)
    stolen = judge(handle=handle(active, "key"), certificate=CERTIFICATE, by_certificate=blocked, by_session=active)
    lent = judge(handle=handle(blocked, "cookie"), certificate=CERTIFICATE, by_certificate=active, by_session=blocked)
    assert stolen == lent == Posture(note="blocked")


def test_a_device_waiting_for_an_officer_is_told_to_wait_also_behind_an_unknown_certificate() -> None:
    device = new_device(status="pending", **MEANS)
    shown = judge(handle=handle(device, "cookie"), certificate=CERTIFICATE, by_certificate=None, by_session=device)
    assert shown == Posture(note="pending")


def test_a_device_looked_up_for_no_certificate_is_not_believed() -> None:
    terminal = new_device(certificate_sha256="cc" * 32)
    assert judge(handle=handle(), certificate=None, by_certificate=terminal, by_session=None) == Posture()


def test_in_every_combination_evidence_means_an_active_device_and_never_more_than_was_shown() -> None:
    devices = [None, *(new_device(status=status, **MEANS) for status in ("active", "pending", "blocked"))]
    shown: tuple[Evidence, ...] = ("none", "cookie", "key")
    combinations = itertools.product((None, CERTIFICATE), devices, devices, shown, (1, 2))
    for certificate, by_certificate, by_session, evidence, since in combinations:
        asked = handle(by_session, evidence, device_generation=since)
        posture = judge(handle=asked, certificate=certificate, by_certificate=by_certificate, by_session=by_session)
        assert (posture.device is None) == (posture.evidence == "none")
        if posture.device is not None:
            assert posture.device.status == "active"
            assert posture.note not in {"blocked", "unknown_device"}
        if posture.evidence == "certificate":
            assert certificate is not None
            assert posture.device is by_certificate
        else:
            assert STRENGTH[posture.evidence] <= STRENGTH[evidence]
            assert posture.device in {None, by_session}
            assert posture.device is None or since <= asked.generation


async def test_the_registry_is_asked_for_what_the_request_showed(tmp_path: Path) -> None:
    registry = SqliteDevices(tmp_path / "devices.sqlite")
    clock = ManualClock(NOW)
    source = RegistryPosture(registry, clock=clock)
    der = client_certificate()
    browser, terminal = new_device(**MEANS), new_device(certificate_sha256=certificate_sha256(der))
    await registry.add(browser)
    await registry.add(terminal)
    plain = Connection(peer_address="192.0.2.10")
    mutual = Connection(peer_address="192.0.2.10", tls_version="TLSv1.3", client_certificate=der)

    assert await source.observe(plain, handle()) == Posture()
    assert (await source.observe(plain, handle(browser, "cookie"))).device == browser
    assert (await source.observe(mutual, handle(browser, "cookie"))).evidence == "certificate"
    empty = Connection(peer_address="192.0.2.10", tls_version="TLSv1.3", client_certificate=b"")
    assert await source.observe(empty, handle()) == Posture(note="certificate_unknown")

    await registry.update(terminal.id, lambda old: msgspec.structs.replace(old, status="blocked"))
    assert await source.observe(mutual, handle(browser, "cookie")) == Posture(note="blocked")
    seen = await registry.get(browser.id)
    assert seen is not None
    assert seen.last_seen_at == int(NOW)
    await registry.close()
    with pytest.raises(StoreUnavailable):
        await source.observe(plain, handle(browser, "cookie"))


async def test_a_certificate_that_has_run_out_since_the_connection_began(tmp_path: Path) -> None:
    """Connections live long, and a TLS session that is resumed is not verified anew."""
    registry = SqliteDevices(tmp_path / "devices.sqlite")
    der = client_certificate()
    browser, terminal = new_device(**MEANS), new_device(certificate_sha256=certificate_sha256(der))
    await registry.add(browser)
    await registry.add(terminal)
    mutual = Connection(peer_address="192.0.2.10", tls_version="TLSv1.3", client_certificate=der)
    ends = x509.load_der_x509_certificate(der).not_valid_after_utc.timestamp()
    last, late = (RegistryPosture(registry, clock=ManualClock(at)) for at in (ends, ends + 1))
    assert (await last.observe(mutual, handle())).evidence == "certificate"
    assert await late.observe(mutual, handle()) == Posture(note="certificate_unknown")
    assert (await late.observe(mutual, handle(browser, "cookie"))).evidence == "cookie"
    await registry.update(terminal.id, lambda old: msgspec.structs.replace(old, status="blocked"))
    assert await late.observe(mutual, handle(browser, "cookie")) == Posture(note="blocked")
    await registry.close()
