"""Synthetic patients: 合成データ。実在の患者・職員とは関係ありません。 Nobody here exists; no record was copied.

Their names say so (見本 specimen, 架空 fictitious, 試験 test ...). Dates are relative to the moment of reading, so that the ward
always looks current.
"""

from typing import Final, Literal

import msgspec

from gateway.kernel.i18n import Language


class Text(msgspec.Struct, frozen=True):
    """A text in both languages."""

    ja: str
    en: str

    def say(self, language: Language) -> str:
        """Return the text in `language`."""
        return self.ja if language == "ja" else self.en


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A progress note (SOAP)."""

    hours_ago: int
    author: Text
    subjective: Text
    objective: Text
    assessment: Text
    plan: Text


class Lab(msgspec.Struct, frozen=True, kw_only=True):
    """One laboratory result. `low` and `high` are the reference range."""

    name: Text
    value: float
    unit: str
    low: float
    high: float

    @property
    def flag(self) -> Literal["", "H", "L"]:
        """`H` above the reference range, `L` below, else empty."""
        if self.value > self.high:
            return "H"
        return "L" if self.value < self.low else ""


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """Around which values the monitor's vital signs move."""

    heart_rate: float
    """Beats per minute."""
    spo2: float
    """Per cent."""
    respiration: float
    """Breaths per minute."""
    systolic: float
    """mmHg."""
    diastolic: float
    """mmHg."""
    temperature: float
    """Degrees Celsius."""


class Patient(msgspec.Struct, frozen=True, kw_only=True):
    """One synthetic in-patient."""

    id: str
    name: Text
    kana: str
    born: str
    """YYYY-MM-DD."""
    sex: Literal["female", "male"]
    ward: Text
    bed: str
    department: Text
    attending: Text
    admitted_days_ago: int
    blood_type: str
    allergies: tuple[Text, ...]
    problems: tuple[Text, ...]
    medications: tuple[Text, ...]
    labs: tuple[Lab, ...]
    notes: tuple[Note, ...]
    baseline: Baseline


_SATO: Final = Text("佐藤 医師", "Dr. Sato")
_SUZUKI: Final = Text("鈴木 看護師", "Nurse Suzuki")
_EAST: Final = Text("3階東病棟", "Ward 3 East")
_WEST: Final = Text("5階西病棟", "Ward 5 West")
_HCU: Final = Text("HCU", "HCU")
_CARDIOLOGY: Final = Text("循環器内科", "Cardiology")
_RESPIRATORY: Final = Text("呼吸器内科", "Respiratory medicine")
_ORTHOPAEDICS: Final = Text("整形外科", "Orthopaedics")
_GASTRO: Final = Text("消化器内科", "Gastroenterology")


def _labs(crp: float, wbc: float, hb: float, creatinine: float, potassium: float) -> tuple[Lab, ...]:
    return (
        Lab(name=Text("CRP", "CRP"), value=crp, unit="mg/dL", low=0.0, high=0.14),
        Lab(name=Text("白血球数", "White cells"), value=wbc, unit="10³/µL", low=3.3, high=8.6),
        Lab(name=Text("ヘモグロビン", "Haemoglobin"), value=hb, unit="g/dL", low=11.6, high=16.8),
        Lab(name=Text("クレアチニン", "Creatinine"), value=creatinine, unit="mg/dL", low=0.46, high=1.07),
        Lab(name=Text("カリウム", "Potassium"), value=potassium, unit="mmol/L", low=3.6, high=4.8),
    )


PATIENTS: Final[tuple[Patient, ...]] = (
    Patient(
        id="P1001",
        name=Text("見本 花子", "Mihon Hanako"),
        kana="ミホン ハナコ",
        born="1948-04-12",
        sex="female",
        ward=_EAST,
        bed="301-1",
        department=_CARDIOLOGY,
        attending=_SATO,
        admitted_days_ago=4,
        blood_type="A RhD+",
        allergies=(Text("ペニシリン系（発疹）", "Penicillins (rash)"),),
        problems=(Text("慢性心不全の急性増悪", "Acute exacerbation of chronic heart failure"), Text("高血圧症", "Hypertension")),
        medications=(
            Text("フロセミド錠20mg 1回1錠 1日1回 朝食後", "Furosemide 20 mg, 1 tablet once daily after breakfast"),
            Text("カンデサルタン錠4mg 1回1錠 1日1回 朝食後", "Candesartan 4 mg, 1 tablet once daily after breakfast"),
        ),
        labs=_labs(0.62, 7.1, 11.2, 1.21, 4.9),
        notes=(
            Note(
                hours_ago=3,
                author=_SATO,
                subjective=Text(
                    "昨夜は横になって眠れた。息切れは軽くなった。", "Slept lying down last night. Less short of breath."
                ),
                objective=Text(
                    "下腿浮腫は軽減。体重は入院時より2.1kg減。呼吸音は清。",
                    "Leg oedema is down. 2.1 kg lighter than on admission. Lungs clear.",
                ),
                assessment=Text("利尿薬に良く反応している。", "Responds well to the diuretic."),
                plan=Text("フロセミド継続。明朝に電解質を再検。", "Continue furosemide. Repeat electrolytes tomorrow morning."),
            ),
            Note(
                hours_ago=27,
                author=_SUZUKI,
                subjective=Text("夜間のトイレが多くて眠りが浅い。", "Up often for the toilet at night, sleeps lightly."),
                objective=Text("尿量 2,150mL/日。ふらつきなし。", "Urine 2,150 mL a day. Not unsteady."),
                assessment=Text("夜間頻尿による転倒の危険がある。", "At risk of a fall because of the nightly walks."),
                plan=Text(
                    "離床センサーを設置。日中の内服時刻を医師に相談。",
                    "Bed-exit sensor on. Ask the physician about earlier doses.",
                ),
            ),
        ),
        baseline=Baseline(heart_rate=84, spo2=96, respiration=18, systolic=138, diastolic=78, temperature=36.6),
    ),
    Patient(
        id="P1002",
        name=Text("架空 太郎", "Kakuu Taro"),
        kana="カクウ タロウ",
        born="1961-11-03",
        sex="male",
        ward=_EAST,
        bed="301-2",
        department=_RESPIRATORY,
        attending=_SATO,
        admitted_days_ago=2,
        blood_type="O RhD+",
        allergies=(),
        problems=(Text("市中肺炎", "Community-acquired pneumonia"), Text("2型糖尿病", "Type 2 diabetes")),
        medications=(
            Text("セフトリアキソン 2g 点滴 1日1回", "Ceftriaxone 2 g by drip once daily"),
            Text("メトホルミン錠250mg（休薬中）", "Metformin 250 mg (on hold)"),
        ),
        labs=_labs(8.4, 12.9, 13.8, 0.92, 4.1),
        notes=(
            Note(
                hours_ago=5,
                author=_SATO,
                subjective=Text("咳と黄色い痰が続く。食欲は半分くらい。", "Cough and yellow sputum go on. Eats about half."),
                objective=Text(
                    "体温37.8度。右下肺野に水泡音。酸素2L/分。", "37.8 °C. Crackles right lower field. Oxygen 2 L/min."
                ),
                assessment=Text("肺炎は改善傾向だが酸素はまだ必要。", "Pneumonia is improving but oxygen is still needed."),
                plan=Text("抗菌薬3日目。明日胸部X線を再検。", "Day 3 of antibiotics. Repeat the chest film tomorrow."),
            ),
        ),
        baseline=Baseline(heart_rate=96, spo2=93, respiration=23, systolic=124, diastolic=72, temperature=37.7),
    ),
    Patient(
        id="P1003",
        name=Text("試験 さくら", "Shiken Sakura"),
        kana="シケン サクラ",
        born="1990-07-21",
        sex="female",
        ward=_WEST,
        bed="512-3",
        department=_ORTHOPAEDICS,
        attending=_SATO,
        admitted_days_ago=6,
        blood_type="B RhD+",
        allergies=(Text("ラテックス（接触皮膚炎）", "Latex (contact dermatitis)"), Text("そば（じんま疹）", "Buckwheat (hives)")),
        problems=(Text("右膝前十字靭帯再建術後", "After reconstruction of the right anterior cruciate ligament"),),
        medications=(Text("ロキソプロフェン錠60mg 1回1錠 疼痛時", "Loxoprofen 60 mg, 1 tablet when in pain"),),
        labs=_labs(0.3, 6.2, 12.9, 0.58, 4.2),
        notes=(
            Note(
                hours_ago=20,
                author=_SUZUKI,
                subjective=Text("リハビリの後は少し痛むが夜は眠れる。", "Some pain after training, sleeps well."),
                objective=Text("創部に発赤・腫脹なし。膝屈曲90度まで可。", "Wound not red or swollen. Knee bends to 90 degrees."),
                assessment=Text("術後経過は順調。", "Recovering as expected."),
                plan=Text("松葉杖歩行の練習を続ける。", "Go on training with crutches."),
            ),
        ),
        baseline=Baseline(heart_rate=68, spo2=99, respiration=14, systolic=112, diastolic=66, temperature=36.4),
    ),
    Patient(
        id="P1004",
        name=Text("例示 健一", "Reiji Kenichi"),
        kana="レイジ ケンイチ",
        born="1955-01-30",
        sex="male",
        ward=_HCU,
        bed="H-02",
        department=_GASTRO,
        attending=Text("田村 医師", "Dr. Tamura"),
        admitted_days_ago=1,
        blood_type="AB RhD+",
        allergies=(Text("ヨード造影剤（軽度のじんま疹）", "Iodine contrast (mild hives)"),),
        problems=(Text("出血性胃潰瘍（内視鏡止血後）", "Bleeding gastric ulcer, after endoscopic haemostasis"),),
        medications=(
            Text("オメプラゾール 20mg 静注 1日2回", "Omeprazole 20 mg intravenously twice daily"),
            Text("絶食・輸液管理中", "Nil by mouth, on intravenous fluids"),
        ),
        labs=_labs(1.1, 9.8, 8.7, 0.99, 3.9),
        notes=(
            Note(
                hours_ago=2,
                author=Text("田村 医師", "Dr. Tamura"),
                subjective=Text("腹痛なし。立つとふらつく。", "No pain. Light-headed on standing."),
                objective=Text("吐血・下血なし。Hb 8.7 g/dL。", "No further bleeding seen. Haemoglobin 8.7 g/dL."),
                assessment=Text("再出血の所見はない。貧血が残る。", "No sign of bleeding again. Still anaemic."),
                plan=Text(
                    "6時間後にHb再検。再出血時は緊急内視鏡。", "Haemoglobin in 6 hours. Endoscopy at once if it bleeds again."
                ),
            ),
        ),
        baseline=Baseline(heart_rate=104, spo2=97, respiration=19, systolic=102, diastolic=58, temperature=36.9),
    ),
    Patient(
        id="P1005",
        name=Text("仮名 みどり", "Kamei Midori"),
        kana="カメイ ミドリ",
        born="1937-09-08",
        sex="female",
        ward=_WEST,
        bed="508-1",
        department=_ORTHOPAEDICS,
        attending=Text("田村 医師", "Dr. Tamura"),
        admitted_days_ago=11,
        blood_type="A RhD+",
        allergies=(),
        problems=(
            Text("左大腿骨頸部骨折術後", "After surgery for a fracture of the left femoral neck"),
            Text("認知症", "Dementia"),
        ),
        medications=(Text("エドキサバン錠15mg 1回1錠 1日1回", "Edoxaban 15 mg, 1 tablet once daily"),),
        labs=_labs(0.9, 5.4, 10.9, 0.81, 4.4),
        notes=(
            Note(
                hours_ago=9,
                author=_SUZUKI,
                subjective=Text("「家に帰りたい」と夕方に繰り返す。", "Keeps saying in the evening that she wants to go home."),
                objective=Text("歩行器で10m歩行可。食事8割摂取。", "Walks 10 m with a frame. Eats four fifths."),
                assessment=Text("日中の活動量が増え、夜間の睡眠は改善。", "More active by day, sleeps better at night."),
                plan=Text("退院先について家族面談を調整。", "Arrange a talk with the family about where she goes next."),
            ),
        ),
        baseline=Baseline(heart_rate=72, spo2=96, respiration=16, systolic=130, diastolic=70, temperature=36.3),
    ),
    Patient(
        id="P1006",
        name=Text("模擬 翔", "Mogi Sho"),
        kana="モギ ショウ",
        born="2003-02-17",
        sex="male",
        ward=_EAST,
        bed="305-2",
        department=_RESPIRATORY,
        attending=_SATO,
        admitted_days_ago=1,
        blood_type="O RhD+",
        allergies=(),
        problems=(Text("左自然気胸（胸腔ドレーン留置中）", "Left spontaneous pneumothorax, chest drain in place"),),
        medications=(Text("アセトアミノフェン錠500mg 1回1錠 疼痛時", "Paracetamol 500 mg, 1 tablet when in pain"),),
        labs=_labs(0.1, 6.8, 15.2, 0.84, 4.0),
        notes=(
            Note(
                hours_ago=7,
                author=_SATO,
                subjective=Text("管の入っている所が痛むが、息苦しさはない。", "Sore around the drain, breathing is fine."),
                objective=Text("エアリークは消失。肺は再膨張。", "No air leak any more. Lung is expanded."),
                assessment=Text("ドレーン抜去を検討できる。", "The drain may come out soon."),
                plan=Text("明日クランプテスト。", "Clamp test tomorrow."),
            ),
        ),
        baseline=Baseline(heart_rate=76, spo2=98, respiration=15, systolic=118, diastolic=68, temperature=36.7),
    ),
)

BY_ID: Final = {patient.id: patient for patient in PATIENTS}
