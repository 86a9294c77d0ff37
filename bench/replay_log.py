"""A log as a hospital's gateway writes it, made quickly: `python -m bench.replay_log FOLDER [DECISIONS]`.

Every line is the writer's own (encoding, seal, tree, signer), only without waiting for disks and seconds: a checkpoint follows
every second in which something happened, a segment ends with each UTC day, as in `gateway.audit.storage`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec

from gateway.audit.checkpoint import Signer, Snapshot
from gateway.audit.create import create_log, genesis
from gateway.audit.encoding import encode_record, rfc3339, seal
from gateway.audit.files import MANIFEST, checkpoints_name, prepare_folder, records_name
from gateway.audit.keys import load_key
from gateway.audit.merkle import Tree
from gateway.domain.record import Actor, CompletionRecord, DecisionRecord, Record, Source
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import AuditError
from gateway.policy.evaluate import Bundle
from gateway.replay.recorded import decode, filled
from gateway.replay.telling import Telling

START: Final = 1_796_050_800.0
"""2026-11-30T15:00:00Z: midnight in Japan."""
DAYS: Final = 30
_DAY: Final = 86_400
_ENCODE: Final = msgspec.json.Encoder(order="sorted").encode
_STRONG: Final = 0.6
"""Of people: how many sign in with a security key."""
_IN_ORDER: Final = 0.97
_TRIES: Final = 6
_INSISTS: Final = 0.05
"""People mostly ask for what they may: how often they ask for something else all the same."""
_ROLES: Final = ("physician", "physician", "nurse", "nurse", "nurse", "pharmacist", "clerk", "vendor")
_ROUTES: Final = (
    ("ehr", "ehr.home", "read", "normal", ""),
    ("ehr", "ehr.chart", "read", "normal", "patient"),
    ("ehr", "ehr.chart", "read", "normal", "patient"),
    ("ehr", "ehr.prescribe", "write", "high", "patient"),
    ("ehr", "ehr.upload", "write", "normal", "patient"),
    ("imaging", "imaging.study", "read", "normal", ""),
    ("imaging", "imaging.study", "read", "normal", ""),
    ("console", "console.home", "read", "normal", ""),
)


class Hospital:
    """People, devices and what they do all day. The same for the same seed."""

    def __init__(self, bundle: Bundle, *, people: int, seed: int = 1) -> None:
        self._bundle = bundle
        self._random = Random(seed)  # noqa: S311  a workload, no secret
        self._people = [self._person(number) for number in range(people)]
        self._telling = Telling(bundle, bundle)

    def _person(self, number: int) -> dict[str, Any]:
        random = self._random
        role = random.choice(_ROLES)
        strong = random.random() < _STRONG
        registered = random.random() < _IN_ORDER
        evidence = random.choice(("cookie", "key", "key", "certificate")) if registered else "none"
        device: dict[str, Any] = {
            "registered": registered,
            "compliant": registered and random.random() < _IN_ORDER,
            "evidence": evidence,
            "evidence_strength": ("none", "cookie", "key", "certificate").index(evidence),
            "ownership": random.choice(("hospital", "hospital", "hospital", "personal")) if registered else "",
            "compliance_age_seconds": random.randrange(_DAY * 30) if registered else None,
        }
        for name in ("disk_encrypted", "screen_lock", "antivirus", "os_supported"):
            device |= {name: registered or None, f"{name}_age_seconds": random.randrange(_DAY * 20) if registered else None}
        return {
            "actor": Actor(
                subject=f"usr_{number:032x}",
                login=f"staff.{number:04d}",
                name=f"職員 {number:04d}",
                roles=(role,),
                department="内科",
                session=f"ses_{number:032x}",
                device=f"dev_{number:032x}",
            ),
            "principal": {"id": f"usr_{number:032x}", "roles": [role], "organization": "第一病院"},
            "kinds": ["fido2"] if strong else ["otp", "pwd"],
            "strong": strong,
            "proofing": {
                "level": 3 if random.random() < _IN_ORDER else 1,
                "method": "jpki_sign",
                "age_days": random.randrange(300),
                "expires_in_days": random.randrange(1, 1500),
                "authenticator_bound": True,
            },
            "device": device,
            "zone": random.choice(("ward", "ward", "outpatient", "remote")),
        }

    def facts(self, person: dict[str, Any], at: float) -> dict[str, Any]:
        """What policies could read of one request."""
        random = self._random
        local = int(at - START)
        hour, day = local // 3600 % 24, local // _DAY
        app, route, action, sensitivity, patient = random.choice(_ROUTES)
        age = random.randrange(9 * 3600)
        return {
            "principal": person["principal"],
            "authentication": {
                "kinds": person["kinds"],
                "factors": 2,
                "phishing_resistant": person["strong"],
                "age_seconds": age,
                "key_touch_age_seconds": age if person["strong"] else None,
            },
            "proofing": person["proofing"],
            "device": person["device"],
            "network": {"zone": person["zone"], "tls": True},
            "time": {
                "hour": hour,
                "weekday": (1 + day) % 7 + 1,
                "date": f"2026-12-{1 + day:02d}",
                "day": 20261201 + day,
                "holiday": False,
                "shifts": ["day"] if 8 <= hour < 17 else ["night"],  # noqa: PLR2004  the hours of a day shift
            },
            "situation": "normal",
            "grants": [],
            "target": {
                "app": app,
                "route": route,
                "action": action,
                "sensitivity": sensitivity,
                "patient": f"{random.randrange(20_000):08d}" if patient else "",
            },
        }

    def records(self, decisions: int) -> Iterator[tuple[float, Record]]:
        """Yield decisions over a month, each Allow with its completion."""
        random = self._random
        for number in range(decisions):
            at = START + number * (DAYS * _DAY / decisions)
            person = random.choice(self._people)
            for _ in range(_TRIES):
                plain = self.facts(person, at)
                raw = _ENCODE(plain)
                allowed, policies = self._answer(raw)
                if allowed or random.random() < _INSISTS:
                    break
            target = plain["target"]
            decision = DecisionRecord(
                id=f"dec_{number:032x}",
                at=rfc3339(at),
                outcome="allow" if allowed else "deny",
                reason="" if allowed else "no_policy_permits",
                actor=person["actor"],
                source=Source(address="192.0.2.7", port=40_000, door="nginx", tls="TLSv1.3"),
                host=f"{target['app']}.hospital.example",
                method="GET" if target["action"] == "read" else "POST",
                path=f"/patients/{target['patient']}/summary",
                app=target["app"],
                route=target["route"],
                action=target["action"],
                patient=target["patient"],
                policies=policies,
                bundle=self._bundle.version,
                facts=msgspec.Raw(raw),
            )
            yield at, decision
            if allowed:
                yield (
                    at,
                    CompletionRecord(
                        id=decision.id, at=rfc3339(at + 0.1), status=200, bytes_in=0, bytes_out=9_123, duration_ms=87
                    ),
                )

    def _answer(self, raw: bytes) -> tuple[bool, tuple[str, ...]]:
        """By the policies; what they can't tell apart is asked once."""
        recorded = decode(raw)
        subject = self._telling.subject(recorded)
        key = subject.key(recorded)
        found: tuple[bool, tuple[str, ...]] | None = subject.pairs.get(key)
        if found is None:
            answer = subject.before.evaluate(filled(recorded))
            found = subject.pairs[key] = (answer.allowed, answer.policies)
        return found


def write_log(folder: Path, key_file: Path, records: Iterator[tuple[float, Record]]) -> int:
    """Write a log into a new folder and close it; return how many records it holds."""
    prepare_folder(folder)
    clock = ManualClock(START)
    create_log(folder, key_file=key_file, anchor=None, clock=clock)
    manifest = (folder / MANIFEST).read_bytes()
    key = load_key(key_file)
    if key is None:
        raise AuditError("the log's signing key is missing", where=str(key_file))
    first = (folder / checkpoints_name(1)).read_bytes()
    log = msgspec.json.decode(manifest)["log"]
    signer = Signer(key, log)
    tree, head = Tree(), genesis(manifest)
    if signer.sign(Snapshot(tree=tree.copy(), head=head), rfc3339(START), "open") + b"" != first:
        raise AuditError("is not where it was left", where=str(folder))
    segment, second, day = 1, int(START), int(START) // _DAY
    out = (folder / records_name(1)).open("ab")
    signed = (folder / checkpoints_name(1)).open("ab")
    for at, record in records:
        if int(at) != second and tree.size:
            ends = int(at) // _DAY != day
            signed.write(signer.sign(Snapshot(tree=tree.copy(), head=head), rfc3339(second + 1), "segment" if ends else "time"))
            second = int(at)
            if ends:
                out.close()
                signed.close()
                segment, day = segment + 1, int(at) // _DAY
                out = (folder / records_name(segment)).open("ab")
                signed = (folder / checkpoints_name(segment)).open("ab")
        line, digest = seal(tree.size, head, encode_record(record))
        out.write(line)
        tree.add(digest)
        head = digest.hex()
    signed.write(signer.sign(Snapshot(tree=tree.copy(), head=head), rfc3339(second + 1), "close"))
    out.close()
    signed.close()
    return tree.size


def main() -> None:
    """Write one."""
    from gateway.policy.bundle import load_bundle

    folder, decisions = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000  # noqa: PLR2004  argv
    hospital = Hospital(load_bundle(Path("policies")), people=600)
    count = write_log(folder, folder.with_name("log.key"), hospital.records(decisions))
    print(f"{folder}: {count:,} records")


if __name__ == "__main__":
    main()
