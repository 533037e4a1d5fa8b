"""Settings: read once, and wrong ones named with what would be right."""

import tomllib
from enum import StrEnum
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from missedcall_common.runtime.settings import SettingsError, from_environment, from_table, read_secret


class Speed(StrEnum):
    SLOW = "slow"
    FAST = "fast"


class Smtp(Struct, frozen=True, kw_only=True):
    host: str = "localhost"
    port: Annotated[int, Meta(ge=1, le=65535)] = 587
    timeout_s: Annotated[float, Meta(gt=0)] = 10.0
    start_tls: bool = True
    password_file: str | None = None


class Settings(Struct, frozen=True, kw_only=True):
    domains: tuple[str, ...] = ()
    codes: frozenset[int] = frozenset()
    tls: Literal["off", "on", "required"] = "on"
    speed: Speed = Speed.SLOW
    listen: Annotated[str, Meta(description="HOST:PORT")] = "127.0.0.1:9060"
    smtp: Smtp = Smtp(port=25)

    def __post_init__(self):
        if self.tls == "required" and not self.smtp.start_tls:
            raise ValueError("tls = 'required': expected smtp.start_tls = true with it")


class Strict(Struct, frozen=True, kw_only=True):
    brokers: tuple[str, ...]
    smtp: Smtp


def _env(**named):
    return from_environment(Settings, {f"MISSEDCALL_{name}": value for name, value in named.items()})


def _toml(text):
    return from_table(Settings, tomllib.loads(text), "m.toml")


def _problems(read, *args, **named):
    with pytest.raises(SettingsError) as caught:
        read(*args, **named)
    return list(caught.value.problems)


def test_nothing_set_means_the_defaults():
    assert from_environment(Settings, {}) == from_table(Settings, {}) == Settings()


def test_a_group_keeps_the_defaults_that_its_owner_gave_it():
    assert _env(SMTP_HOST="mx").smtp == Smtp(host="mx", port=25)
    assert _toml("[smtp]\nhost = 'mx'").smtp == Smtp(host="mx", port=25)


def test_variables_are_read_by_their_types():
    settings = _env(
        DOMAINS="a.example, b.example ,",
        CODES="404,486",
        SMTP_START_TLS="false",
        SMTP_TIMEOUT_S="2.5",
        SPEED="fast",
    )

    assert settings == Settings(
        domains=("a.example", "b.example"),
        codes=frozenset({404, 486}),
        speed=Speed.FAST,
        smtp=Smtp(port=25, start_tls=False, timeout_s=2.5),
    )


def test_an_empty_variable_is_not_set():
    assert _env(SMTP_PORT="", DOMAINS="  ") == Settings()


def test_variables_of_others_are_left_alone():
    assert from_environment(Settings, {"PATH": "/bin", "MISSED": "1"}) == Settings()


@pytest.mark.parametrize(
    "name",
    [
        "COLLECTOR_SERVICE_HOST",
        "COLLECTOR_SERVICE_PORT",
        "COLLECTOR_SERVICE_PORT_HEP",
        "COLLECTOR_PORT",
        "COLLECTOR_PORT_9060_UDP",
        "COLLECTOR_PORT_9060_UDP_ADDR",
    ],
)
def test_variables_that_kubernetes_sets_for_a_service_are_left_alone(name):
    assert _env(**{name: "tcp://10.0.0.1:9060"}) == Settings()


def test_all_problems_come_at_once_and_say_what_would_be_right():
    assert _problems(
        _env, SMTP_PORT="99999", TLS="maybe", SMTP_TIMEOUT_S="0", SMTP_START_TLS="si", CODES="x"
    ) == [
        "MISSEDCALL_CODES = 'x': expected a list, each a whole number",
        "MISSEDCALL_TLS = 'maybe': expected one of off, on, required",
        "MISSEDCALL_SMTP_PORT = '99999': expected a whole number, 1 to 65535",
        "MISSEDCALL_SMTP_TIMEOUT_S = '0': expected a number, above 0",
        "MISSEDCALL_SMTP_START_TLS = 'si': expected true or false",
    ]


def test_a_table_is_named_by_file_section_and_key():
    assert _problems(_toml, "speed = 'warp'\nlisten = 5\n[smtp]\nport = '25'\nstart_tls = 1") == [
        "m.toml: speed = 'warp': expected one of slow, fast",
        "m.toml: listen = 5: expected HOST:PORT",
        "m.toml: smtp.port = '25': expected a whole number, 1 to 65535",
        "m.toml: smtp.start_tls = 1: expected true or false",
    ]


def test_a_misspelt_setting_is_an_error_that_knows_better():
    assert _problems(_env, SMTP_PROT="25") == [
        "MISSEDCALL_SMTP_PROT: no such setting; did you mean MISSEDCALL_SMTP_PORT?"
    ]
    assert _problems(_toml, "[smtp]\nprot = 25") == [
        "m.toml: smtp.prot: no such setting; did you mean smtp.port?"
    ]
    assert _problems(_toml, "zzz = 1") == ["m.toml: zzz: no such setting"]


def test_a_section_that_is_a_value_is_an_error():
    assert _problems(_toml, "smtp = 'mx'") == ["m.toml: smtp = 'mx': expected a section [smtp]"]


def test_what_must_be_set_and_is_not_is_an_error():
    assert _problems(from_environment, Strict, {}) == [
        "MISSEDCALL_BROKERS is not set: expected a list, each a text"
    ]
    assert _problems(from_table, Strict, {}) == ["brokers is not set: expected a list, each a text"]


def test_what_two_settings_say_together_is_checked_last():
    assert _problems(_env, TLS="required", SMTP_START_TLS="0") == [
        "tls = 'required': expected smtp.start_tls = true with it"
    ]


def test_a_secret_given_as_a_value_is_refused_and_never_shown():
    for problems in (
        _problems(_env, SMTP_PASSWORD="hunter2"),
        _problems(_toml, "[smtp]\npassword = 'hunter2'"),
    ):
        assert "a secret is never a value here" in problems[0]
        assert "_file" in problems[0].lower()
        assert "hunter2" not in problems[0]


def test_a_setting_that_would_hold_a_secret_cannot_be_declared():
    class Leaky(Struct, frozen=True):
        api_token: str = ""

    for read in (from_environment, from_table):
        with pytest.raises(TypeError, match=r"Leaky\.api_token would hold a secret: name it api_token_file"):
            read(Leaky, {})


def test_a_wrong_value_is_shown_without_credentials_and_not_at_length():
    (password,) = _problems(_env, SMTP_PORT="smtp://user:hunter2@mx")
    (long,) = _problems(_env, SMTP_PORT="9" * 5000)

    assert password.startswith("MISSEDCALL_SMTP_PORT = 'smtp://...@mx'")
    assert len(long) < 200


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Annotated[int, Meta(ge=1)], "a whole number, 1 or more"),
        (Annotated[int, Meta(le=9)], "a whole number, at most 9"),
        (Annotated[int, Meta(gt=1, lt=9)], "a whole number, above 1 and below 9"),
        (Annotated[int, Meta(lt=9)], "a whole number, below 9"),
        (Annotated[str, Meta(min_length=1)], "a text that is not empty"),
        (Annotated[str, Meta(min_length=1, max_length=5)], "a text of 1 to 5 characters"),
        (Annotated[str, Meta(pattern="^x")], "a text that matches ^x"),
        (int | None, "a whole number"),
        (tuple[Annotated[str, Meta(description="HOST:PORT")], ...], "a list, each HOST:PORT"),
        (dict[str, int], "dict"),
    ],
)
def test_a_type_says_what_would_be_right(annotation, words):
    from missedcall_common.runtime.expected import expected

    assert expected(annotation) == f"expected {words}"


def test_a_secret_is_the_file_without_its_line_end(tmp_path):
    path = tmp_path / "password"
    for raw, secret in ((b"hunter2\n", "hunter2"), (b"hunter2\r\n", "hunter2"), (b" a b \n\n", " a b \n")):
        path.write_bytes(raw)

        assert read_secret(path, "smtp.password_file") == secret


@pytest.mark.parametrize(
    ("raw", "right"),
    [
        (b"", "expected a secret in it, the file is empty"),
        (b"\n", "expected a secret in it, the file is empty"),
        (b"hunter\xff", "expected UTF-8, byte 6 is not"),
        (b"hunter2" * 20_000, "expected at most 65536 bytes of secret"),
    ],
)
def test_a_file_that_holds_no_secret_is_named_and_its_content_is_not(tmp_path, raw, right):
    path = tmp_path / "password"
    path.write_bytes(raw)

    assert _problems(read_secret, path, "smtp.password_file") == [f"smtp.password_file = '{path}': {right}"]


def test_a_secret_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "none"

    assert _problems(read_secret, path, "K") == [
        f"K = '{path}': No such file or directory: expected a file to read"
    ]


@given(st.dictionaries(st.sampled_from(["SMTP_PORT", "CODES", "TLS", "SMTP_START_TLS", "X"]), st.text()))
def test_no_environment_gives_any_other_error(named):
    try:
        _env(**named)
    except SettingsError:
        return
