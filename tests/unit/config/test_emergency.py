"""[break_glass] and [notices]: what they refuse, and where they say so."""

from pathlib import Path

import pytest

from gateway.config import Config, InvalidConfigError, load_config
from tests.support.configuration import MINIMAL, private, write_config

WITH_DATABASE = MINIMAL.replace('dir = "policies"', 'dir = "policies"\ndatabase = "policies.sqlite3"')
MAIL = 'smtp_host = "mail.example"\nmail_from = "gateway@hospital.example"\nmail_to = ["officers@hospital.example"]\n'
HOOK = 'webhook_url = "https://alerts.example/x"\nwebhook_secret_file = "webhook"\n'


def loaded(folder: Path, text: str) -> Config:
    private(folder / "webhook", "w" * 43)
    private(folder / "short", "w" * 31)
    private(folder / "smtp", "secret")
    return load_config(write_config(folder, text), {})


def told(folder: Path, section: str, text: str = WITH_DATABASE) -> str:
    with pytest.raises(InvalidConfigError) as caught:
        loaded(folder, text.replace("[[apps]]", f"{section}\n[[apps]]", 1))
    return str(caught.value)


def test_without_the_sections_there_are_defaults_and_nobody_is_told(tmp_path: Path) -> None:
    config = loaded(tmp_path, WITH_DATABASE)
    assert (config.break_glass.minutes, config.break_glass.reasons, config.notices) == (60, (), None)


def test_both_ways_of_telling(tmp_path: Path) -> None:
    section = f'[notices]\n{MAIL}{HOOK}smtp_user = "gateway"\nsmtp_password_file = "smtp"\nlanguage = "en"\npatient_id = true\n'
    notices = loaded(tmp_path, WITH_DATABASE.replace("[[apps]]", f"{section}[[apps]]", 1)).notices
    assert notices is not None
    assert (notices.smtp_port, notices.smtp_tls, notices.language, notices.patient_id) == (587, "starttls", "en", True)
    assert notices.webhook_secret is not None
    assert "w" * 43 not in repr(notices)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("[notices]\n", "[notices] tells nobody"),
        ('[notices]\nsmtp_host = "mail.example"\n', "mail needs a sender and somebody to send it to"),
        (f'[notices]\n{MAIL}smtp_user = "gateway"\n', "needs a password"),
        (f'[notices]\n{MAIL}smtp_tls = "plain"\n', "would cross the network in clear"),
        (f'[notices]\n{HOOK}mail_to = ["a@b.example"]\n', "`mail_to` is given, but no mail server"),
        ('[notices]\nsmtp_host = "mail.example"\nmail_from = "a@b.example\\r\\nBcc: x@y"\n', "should be an e-mail"),
        ('[notices]\nwebhook_url = "https://alerts.example/"\n', "needs a secret"),
        ('[notices]\nwebhook_url = "http://alerts.example/"\nwebhook_secret_file = "webhook"\n', "in clear"),
        ('[notices]\nwebhook_url = "https://alerts.example/"\nwebhook_secret_file = "short"\n', "shorter than 32"),
        ('[notices]\nwebhook_url = "file:///etc/passwd"\nwebhook_secret_file = "webhook"\n', "should be a URL"),
        (f'[notices]\n{MAIL}webhook_secret_file = "webhook"\n', "a secret for a webhook, but no webhook"),
        (f'[notices]\n{MAIL}smtp_password = "x"\n', "stands in the file itself"),
        ("[break_glass]\nminutes = 0\n", "minutes"),
        ("[break_glass]\nminutes = 481\n", "minutes"),
        ('[[break_glass.reasons]]\nid = "a"\ntitle_ja = "あ"\ntitle_en = ""\n', "title_en"),
        (2 * '[[break_glass.reasons]]\nid = "a"\ntitle_ja = "あ"\ntitle_en = "a"\n', 'the reason "a" is there twice'),
    ],
)  # fmt: skip
def test_what_can_not_be_is_refused_with_its_place(tmp_path: Path, section: str, words: str) -> None:
    said = told(tmp_path, section)
    assert words in said
    assert "gateway.toml:" in said


@pytest.mark.parametrize("section", ["[break_glass]\nminutes = 30\n", f"[notices]\n{MAIL}"])
def test_neither_is_there_without_a_database(tmp_path: Path, section: str) -> None:
    assert "no database" in told(tmp_path, section, MINIMAL)


def test_plain_mail_and_http_stay_on_this_machine(tmp_path: Path) -> None:
    section = (
        f'[notices]\n{MAIL.replace("mail.example", "localhost")}smtp_tls = "plain"\n'
        'webhook_url = "http://127.0.0.1:9/x"\nwebhook_secret_file = "webhook"\n'
    )
    assert loaded(tmp_path, WITH_DATABASE.replace("[[apps]]", f"{section}[[apps]]", 1)).notices is not None
