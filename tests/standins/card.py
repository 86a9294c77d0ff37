"""A My Number Card and the client of its reader, without either: by hand and in tests. Its keys and people do not exist.

    python -m tests.standins.card make FOLDER     # CAs, a card of each kind, revocation lists; prints [idp.jpki] for gateway.toml
    python -m tests.standins.card sign FOLDER sign < request.json > answer.json

`request.json` is what the sign-in page shows; the answer is pasted into the same page. Like a real client, it shows the text
that it signs (on standard error). `--error pin_locked` (or cancelled, wrong_card, reader_failed) fails as a client does.
"""

import argparse
import base64
import json
import sys
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.support import asn1
from tests.support.jpki_ca import Authority, Card, Kind, attributes, fingerprint, pem_of

KINDS: tuple[Kind, ...] = ("sign", "auth")


def make(folder: Path, name: str, birth_date: str) -> None:
    """Write everything that a verifier and a card holder have."""
    now, roots = int(time.time()), dict[Kind, list[str]]()
    for kind in KINDS:
        lists = folder / "crl" / kind
        lists.mkdir(parents=True, exist_ok=True)
        for generation in (1, 2):
            ca = Authority(kind, generation)
            file = ca.save(folder / "roots")
            (lists / f"{generation}.crl").write_bytes(ca.crl((0xDEAD,), this_update=now - 60, next_update=now + 86_400 * 30))
            roots.setdefault(kind, []).append(f'    {{ file = "{file}", sha256 = "{fingerprint(ca.certificate)}" }},')
        names = attributes(name, birth_date=birth_date) if kind == "sign" else None
        year = asn1.utc_time(now - 86_400), asn1.utc_time(now + 86_400 * 365)
        card = ca.issue(names=names, not_before=year[0], not_after=year[1])
        (folder / f"card-{kind}.cer").write_bytes(card.certificate)
        (folder / f"card-{kind}.key").write_bytes(pem_of(card.key))
    for kind in KINDS:
        sys.stdout.write(
            f'# for certificate = "{kind}"\n[idp.jpki]\nverifier = "test"\ninstitution = "ひまわり病院"\ncertificate = "{kind}"\n'
            f'environment = "test"\ncrl_folder = "{folder / "crl" / kind}"\nroots = [\n' + "\n".join(roots[kind]) + "\n]\n\n"
        )


def card_of(folder: Path, kind: Kind) -> Card:
    """Read a card that `make` wrote."""
    private = load_pem_private_key((folder / f"card-{kind}.key").read_bytes(), None)
    assert isinstance(private, RSAPrivateKey)
    return Card(kind, (folder / f"card-{kind}.cer").read_bytes(), private)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.standins.card", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("folder", type=Path)
    making.add_argument("--name", default="佐藤　恵")
    making.add_argument("--birth-date", default="319840512", help="EYYYYMMDD")
    signing = commands.add_parser("sign")
    signing.add_argument("folder", type=Path)
    signing.add_argument("kind", choices=KINDS)
    signing.add_argument("--error", default="")
    arguments = parser.parse_args()
    if arguments.command == "make":
        make(arguments.folder, arguments.name, arguments.birth_date)
        return 0
    request = json.load(sys.stdin)
    if arguments.error:
        answer = {"error": arguments.error}
    else:
        sys.stderr.write(base64.b64decode(request["challenge"]).decode())
        answer = card_of(arguments.folder, arguments.kind).answer(request["challenge"])
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
