"""Secrets leave no log line; everything else stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from treewalk.model.redact import MARK, redact, take_out_emails

DATA = Path(__file__).parent / "data" / "redaction.txt"


def lines(section: str) -> list[str]:
    body = DATA.read_text("utf-8").split(f"[{section}]\n", 1)[1].split("\n[", 1)[0]
    return [line.replace("·", "").replace("\\n", "\n") for line in body.splitlines() if line]


SECRETS, PLAIN = lines("secret"), lines("plain")


def test_there_are_enough_lines_to_say_something() -> None:
    assert len(SECRETS) >= 200
    assert len(PLAIN) >= 200


@pytest.mark.parametrize("line", SECRETS)
def test_a_secret_is_taken_out_and_its_surroundings_stay(line: str) -> None:
    said = redact(line.replace("«", "").replace("»", ""))
    outside = []
    for part in line.split("«"):
        secret, closed, rest = part.partition("»")
        outside.append(rest if closed else part)
        if closed:
            assert secret not in said
            assert all(word not in said for word in secret.split() if len(word) > 5)
    assert MARK in said
    assert said.startswith(outside[0].split("-----BEGIN")[0].rstrip("'\"\\ "))


@pytest.mark.parametrize("line", PLAIN)
def test_an_ordinary_line_stays_as_it_is(line: str) -> None:
    assert redact(line) == line


@pytest.mark.parametrize("line", SECRETS)
def test_redacting_twice_changes_nothing_more(line: str) -> None:
    once = redact(line.replace("«", "").replace("»", ""))
    assert redact(once) == once


_HOSTILE = (
    "-----BEGIN PRIVATE KEY-----", "-eyJ", "a", "a_", "aaaa.", "a://", "ab://c:", "http://a:b", 'password="', "token=",
    'password=\\"\\', "authorization: ", "cookie=", "-sk-", "-xoxb-", "?sig=", "&code=aaaaaaa", "1", "1.", "a1", "e-",
    "\x1b[", "\n", " ", "AUTH \"a", "--password ", "bearer aaaaaaaa", "bearer ", "basic   ", "secret_",
    "identified by ", "<password>", "://a@", "passwordpassword", "eyJ.", "bot1:AA", "x-api-key",
    "redis-cli ", "redis-cli -a ", "mysql ", "mysql -p", "sshpass -p", "curl ", "curl -u a:", "wget --user=",
    "login a password ", "$2b$", "$2b$a", "pbkdf2_a$", "hf_", "dp.st.", "SK0", "routing_key=0", "otp=1", "snmp ",
    "snmp community=", "name: password ", "name=token value=", '"password" ', '"password", ', "('token', '",
    'password "', "token is ", "AUTH default ", "signature=", "?key=a", "?key=1", "jdbc:oracle:thin:a/",
    "authorization: digest ",
    '"auth":"', "AUTH PLAIN a", "dbpass", "apppass", "PHPSESSID", "password={", "password={a}",
    "ldapsearch ", "ldapsearch -w ", "htpasswd -b a ", "smbclient -U a%", "user.info=a:", "set password ",
    'api key "', "requirepass ", "requirepass a", "AUTH a ", "AUTH a b ", "ACL SETUSER ", "ACL SETUSER a >b ",
    "docker login ", "docker login -p ", "password for user a: ",
    "password for a", "IDENTIFIED BY ", "create user a identified by ",
    "grant ",
)  # fmt: skip


@pytest.mark.parametrize("piece", _HOSTILE)
def test_a_hostile_line_is_redacted_in_linear_time(piece: str) -> None:
    redact((piece * 200_000)[:200_000])  # a quadratic pattern would take hours


def test_addresses_of_people_are_taken_out_only_when_asked() -> None:
    line = "mail from ops+night@mail.example.co.uk to <bob@example.com>; git@10.0.0.5:x, user@localhost"
    assert redact(line) == line
    asked = redact(line, emails=True)
    assert asked == f"mail from {MARK} to <{MARK}>; git@10.0.0.5:x, user@localhost"
    assert redact(asked, emails=True) == asked


def test_a_workspace_asks_for_addresses_to_be_taken_out(tmp_path: Path) -> None:
    from treewalk.app import App

    settings = tmp_path / "treewalk.yaml"
    try:
        settings.write_text("redact: {emails: true}\n")
        app = App.open(tmp_path, environ={})
        assert redact("to <bob@example.com>") == f"to <{MARK}>"
        settings.write_text("{}\n")
        app.renewed()
        assert redact("to <bob@example.com>") == "to <bob@example.com>"
    finally:
        take_out_emails(False)


@given(st.text(max_size=200))
@example("password=password=x")
@example("token='a' token=\"")
def test_redacting_any_text_twice_is_redacting_it_once(text: str) -> None:
    assert redact(redact(text)) == redact(text)


_PIECES = st.sampled_from(
    ["password", "token", "=", ":", " ", '"', "'", "\\", "://", "@", "a", "Bearer ", "secret1234", "\n", "eyJhbGciOiJI",
     "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", ".", "&", "?sig=", "[redacted]", "--", "cookie", ",",
     "<", ">", "sk-", "AUTH ", "redis-cli -a ", "curl -u ", "mysql -p", " is ", "1", "name", "value", "key", "('",
     "', '", "$2b$12$", "a" * 24, "default ", "signature", "?", "otp", "1234", "Digest ", "{", "};",
     "requirepass ", "AUTH app ", "ACL SETUSER a ", " >", "docker login ", " -p ",
     "password for user bob: ", "IDENTIFIED BY "]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=14).map("".join))
def test_redacting_pieces_of_secrets_twice_is_redacting_them_once(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@given(st.text(alphabet="abcXYZ019-_", min_size=8, max_size=40), st.sampled_from(['"', "'"]))
def test_a_secret_in_quotes_never_survives(secret: str, quote: str) -> None:
    from treewalk.model import redact as module

    said = redact(f"db_password={quote}{secret}{quote}")
    assert secret not in said or module._HARMLESS.fullmatch(secret)
