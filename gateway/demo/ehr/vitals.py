"""Synthetic vital signs: a pure function of the patient and the second, so that every screen shows the same patient."""

import math
import zlib

import msgspec

from gateway.demo.patients import Patient


class Vitals(msgspec.Struct, frozen=True, kw_only=True):
    """What the bedside monitor shows at one second."""

    at: int
    """Epoch seconds."""
    heart_rate: int
    spo2: int
    respiration: int
    systolic: int
    """Measured with a cuff: changes every five minutes only."""
    diastolic: int
    temperature: float


def vitals_at(patient: Patient, second: int) -> Vitals:
    """Return the vital signs of `patient` at `second`: slow waves around the patient's baseline, plus noise."""
    base = patient.baseline
    cuff = second - second % 300

    def wave(channel: str, at: int, period: float, size: float) -> float:
        phase = _unit(f"{patient.id}:{channel}") * 2 * math.pi
        return size * math.sin(2 * math.pi * at / period + phase)

    def noise(channel: str, at: int, size: float) -> float:
        return size * (2 * _unit(f"{patient.id}:{channel}:{at}") - 1)

    return Vitals(
        at=second,
        heart_rate=round(base.heart_rate + wave("hr", second, 47, 4) + wave("hr2", second, 11, 1.5) + noise("hr", second, 1.5)),
        spo2=min(100, round(base.spo2 + wave("spo2", second, 71, 1) + noise("spo2", second, 0.6))),
        respiration=round(base.respiration + wave("resp", second, 61, 2) + noise("resp", second, 0.7)),
        systolic=round(base.systolic + noise("sys", cuff, 7)),
        diastolic=round(base.diastolic + noise("dia", cuff, 5)),
        temperature=round(base.temperature + wave("temp", second, 7200, 0.2), 1),
    )


def _unit(name: str) -> float:
    """A number from 0 up to 1 that depends on `name` only."""
    return zlib.crc32(name.encode()) / 2**32
