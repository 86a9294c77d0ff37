"""The verifiers of identity proofing: `[idp] proofing` names one of this table, and its section makes it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar

from gateway.config import Config
from gateway.config.model import EmbeddedProvider
from gateway.config.proofing import Backend
from gateway.config.secrets import read_private_file
from gateway.kernel.clock import Clock
from gateway.kernel.errors import ConfigError
from gateway.kernel.secret import Secret
from gateway.policy.remedy import Proofing
from idp.proofing.digital_agency.backend import digital_agency_backend
from idp.proofing.digital_agency.settings import RETURN_PATH, DigitalAgencySettings
from idp.proofing.in_person import InPersonSettings, in_person_backend
from idp.proofing.in_person.counter import METHOD_CHIP, METHOD_DOCUMENT
from idp.proofing.jpki.backend import jpki_backend
from idp.proofing.jpki.settings import JpkiSettings, RootFile
from idp.proofing.platform_operator import PlatformOperatorSettings, platform_operator_backend
from idp.proofing.port import ProofingBackend
from idp.proofing.rehearsal import LEVEL, PREFIX, Rehearsal
from idp.proofing.simulated import simulated_backend

Section = TypeVar("Section")
BEST: Final = 3
"""The assurance level of a card that was read."""
Make = Callable[[Config, EmbeddedProvider, Clock], ProofingBackend | None]


def verifier_of(config: Config, clock: Clock) -> ProofingBackend | None:
    """Make the verifier of identity proofing; None where none is configured. Whoever asks for it closes it.

    Raises ConfigError when its section can't be used. Asks nobody yet.
    """
    if config.idp is None:
        return None
    backend = VERIFIERS[config.idp.proofing](config, config.idp, clock)
    return Rehearsal(backend) if config.idp.rehearsal and backend is not None else backend


def outcome_of(config: Config) -> Proofing | None:
    """Say what a proofing yields at this installation, for the remedy; None where nobody is proofed.

    A remedy that would not open what it is offered for would send people round in a circle.
    """
    idp = config.idp
    if idp is None or idp.proofing == "none":
        return None
    level, method, days = _yield_of(idp)
    if idp.rehearsal:
        level, method = min(level, LEVEL), PREFIX + method
    if idp.valid_days:
        days = min(days or idp.valid_days, idp.valid_days)
    return Proofing(level=level, method=method, expires_in_days=days)


def _yield_of(idp: EmbeddedProvider) -> tuple[int, str, int | None]:
    """Level, recorded method and days until the end, of the best that the configured verifier gives."""
    if idp.proofing == "digital-agency" and idp.digital_agency is not None:
        return BEST, "jpki_auth_oidc", idp.digital_agency.valid_days
    if idp.proofing == "platform-operator" and idp.platform_operator is not None:
        return BEST, "platform_operator", idp.platform_operator.valid_days
    if idp.proofing == "jpki" and idp.jpki is not None:
        return BEST, f"jpki_{idp.jpki.certificate}", idp.jpki.valid_days
    if idp.proofing == "in-person" and idp.in_person is not None:
        levels = dict(idp.in_person.levels)
        level = max(levels.values())
        return level, METHOD_CHIP if levels.get("ic_chip") == level else METHOD_DOCUMENT, idp.in_person.valid_days
    return BEST, idp.proofing, None


def _none(_: Config, __: EmbeddedProvider, ___: Clock) -> None:
    return None


def _simulated(config: Config, _: EmbeddedProvider, clock: Clock) -> ProofingBackend:
    return simulated_backend(clock, demo_mode=config.demo)


def _digital_agency(config: Config, idp: EmbeddedProvider, clock: Clock) -> ProofingBackend:
    section = _section(config, idp.digital_agency, "digital_agency")
    settings = DigitalAgencySettings(
        issuer=section.stand_in_url or section.environment,
        stand_in=section.environment == "stand-in",
        client_id=section.client_id,
        redirect_uri=config.identity.issuer + RETURN_PATH,
        private_key=_pem(section.key_file),
        key_id=section.key_id,
        assertion_algorithm=section.assertion_algorithm,
        assertion_audience=section.assertion_audience,
        id_token_algorithms=section.id_token_algorithms,
        acr_values=section.acr_values,
        acr_accepted=section.acr_accepted,
        acr_required=section.acr_required,
        kana_claim=section.kana_claim,
        ca_file=section.ca_file,
        valid_days=section.valid_days,
        skew_seconds=section.skew_seconds,
    )
    return digital_agency_backend(settings, clock)


def _platform_operator(config: Config, idp: EmbeddedProvider, clock: Clock) -> ProofingBackend:
    section = _section(config, idp.platform_operator, "platform_operator")
    settings = PlatformOperatorSettings(
        profile=section.profile,
        host=section.host,
        token=section.token,
        settings=dict(section.settings),
        app_link=section.app_link,
        return_url=config.identity.issuer + RETURN_PATH,
        ca_file=str(section.ca_file or ""),
        valid_days=section.valid_days,
        skew_seconds=section.skew_seconds,
    )
    return platform_operator_backend(settings, clock)


def _jpki(config: Config, idp: EmbeddedProvider, clock: Clock) -> ProofingBackend:
    section = _section(config, idp.jpki, "jpki")
    settings = JpkiSettings(
        verifier=section.verifier,
        institution=section.institution,
        certificate=section.certificate,
        environment=section.environment,
        roots=tuple(RootFile(file=root.file, sha256=root.sha256) for root in section.roots),
        more_policies=section.more_policies,
        crl_folder=section.crl_folder,
        crl_hours=section.crl_hours,
        ocsp_url=section.ocsp_url or "",
        ocsp_minutes=section.ocsp_minutes,
        ocsp_nonce=section.ocsp_nonce,
        ocsp_no_check=section.ocsp_no_check,
        ocsp_seconds=section.ocsp_seconds,
        valid_days=section.valid_days,
    )
    return jpki_backend(settings, clock)


def _in_person(config: Config, idp: EmbeddedProvider, clock: Clock) -> ProofingBackend:
    section = _section(config, idp.in_person, "in_person")
    settings = InPersonSettings(
        place_ja=section.place_ja,
        place_en=section.place_en,
        levels=dict(section.levels),
        code_seconds=section.code_seconds,
        valid_days=section.valid_days,
    )
    return in_person_backend(settings, clock)


VERIFIERS: Final[Mapping[Backend, Make]] = MappingProxyType(
    {
        "none": _none,
        "simulated": _simulated,
        "digital-agency": _digital_agency,
        "platform-operator": _platform_operator,
        "jpki": _jpki,
        "in-person": _in_person,
    }
)


def _section(config: Config, section: Section | None, name: str) -> Section:
    if section is None:  # `gateway.config.rules` says so before
        raise ConfigError(f"there is no [idp.{name}] section", where=config.where("idp", "proofing"), todo="Add it.")
    return section


def _pem(file: Path) -> Secret:
    try:
        return Secret(read_private_file(file).decode("ascii"))
    except UnicodeDecodeError as error:
        raise ConfigError("this is no key in PEM form", where=str(file), todo="Name the file that was made for it.") from error
