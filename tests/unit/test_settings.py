"""Settings: read once, checked, and a wrong one told in a sentence."""

import os
from pathlib import Path

import msgspec
import pytest

from mercato.runtime.settings import Settings, WrongSetting, describe, load, variable


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody's .env but the test's is read."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_any_setting_the_defaults_hold() -> None:
    assert load({}) == Settings()


def test_an_option_wins_over_the_environment_which_wins_over_the_file(own_folder: Path) -> None:
    (own_folder / ".env").write_text("MERCATO_PORT=9001\nMERCATO_HOST=10.0.0.1\nMERCATO_HOLD=60\n")
    environ = {"MERCATO_PORT": "9002", "MERCATO_HOST": "10.0.0.2"}

    read = load(environ, port=9003, host=None)

    assert (read.port, read.host, read.hold) == (9003, "10.0.0.2", 60.0)
    sources = {each.name: each.source for each in describe(environ, port=9003)}
    assert sources["MERCATO_PORT"] == "option"
    assert sources["MERCATO_HOST"] == "environment"
    assert sources["MERCATO_HOLD"] == ".env"
    assert sources["MERCATO_DATA"] == "default"


def test_a_processs_own_default_yields_to_whatever_was_set(own_folder: Path) -> None:
    assert load({}, {"port": 8081}).port == 8081
    assert load({"MERCATO_PORT": "9002"}, {"port": 8081}).port == 9002
    assert load({}, {"port": 8081}, port=9003).port == 9003
    (own_folder / ".env").write_text("MERCATO_PORT=9001\n")
    assert load({}, {"port": 8081}).port == 9001


@pytest.mark.parametrize(
    "name, value",
    [
        ("MERCATO_PORT", "0"),
        ("MERCATO_PORT", "65536"),
        ("MERCATO_PORT", "eighty"),
        ("MERCATO_PORT", ""),
        ("MERCATO_DATA", ""),
        ("MERCATO_HOLD", "0"),
        ("MERCATO_HOLD", "-1"),
        ("MERCATO_HOLD", "nan"),
        ("MERCATO_HOLD", "inf"),
        ("MERCATO_HOLD", "1e400"),
        ("MERCATO_ONBOARDING", "closed"),
        ("MERCATO_DEFAULT_TIER", "Basic"),
        ("MERCATO_LOG_LEVEL", "loud"),
        ("MERCATO_ACCESS_LOG", "perhaps"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(WrongSetting) as refused:
        load({name: value})

    sentence = str(refused.value)
    assert sentence.startswith(f"{name} is {value!r}, which is not acceptable: ")
    assert sentence.endswith(".")


@pytest.mark.parametrize(
    "name, value, takes",
    [
        ("MERCATO_PORT", "0", "a whole number from 1 to 65535"),
        ("MERCATO_HOLD", "0", "a number above 0 and up to 86400"),
        ("MERCATO_ACCESS_LOG", "perhaps", "true or false"),
        ("MERCATO_DATA", "", "a text that is not empty"),
        ("MERCATO_SMTP_TLS", "ssl", "none, starttls or implicit"),
        ("MERCATO_MAIL_FROM", "Shop <a@b.cc>", "an email address and nothing else, such as shop@example.com"),
        ("MERCATO_ORDERS_URL", "orders:8082", "a URL such as http://HOST:PORT, without a path"),
        ("MERCATO_TIER_BASIC", "10", "three whole numbers with slashes between them, such as 10/10/1000"),
        ("LOG_LEVEL", "x", "trace, debug, info, warn, warning, error, dpanic, panic or fatal"),
    ],
)
def test_what_a_setting_takes_is_told_in_words(name: str, value: str, takes: str) -> None:
    with pytest.raises(WrongSetting) as refused:
        load({name: value})
    assert str(refused.value) == f"{name} is {value!r}, which is not acceptable: it takes {takes}."


def test_a_secret_that_is_refused_is_not_shown() -> None:
    with pytest.raises(WrongSetting) as refused:
        load({"MERCATO_CLUSTER_SECRET": "hunter2"})
    takes = "it takes 32 characters or more, or nothing."
    assert str(refused.value) == f"MERCATO_CLUSTER_SECRET, which is not shown, is not acceptable: {takes}"


@pytest.mark.parametrize("field", msgspec.structs.fields(Settings), ids=lambda field: field.name)
def test_no_refusal_speaks_in_patterns_and_types(field: msgspec.structs.FieldInfo) -> None:
    for value in ("", "x y", "-1", "1e400", "99999999999999", "\n"):
        try:
            load({variable(field.name): value})
        except WrongSetting as error:
            sentence = str(error).replace(repr(value), "")
            assert " is not acceptable: it takes " in sentence
            assert not set(r"\^[]|") & set(sentence), sentence
            assert not {"str", "int", "float", "bool", "None", "regex"} & set(sentence.split()), sentence


@pytest.mark.parametrize("value, meant", [("0", False), ("false", False), ("1", True), ("true", True)])
def test_a_switch_is_written_as_people_write_switches(value: str, meant: bool) -> None:  # noqa: FBT001  a parameter of the test
    assert load({"MERCATO_ACCESS_LOG": value}).access_log is meant


def test_a_misspelt_variable_is_refused_wherever_it_stands(own_folder: Path) -> None:
    with pytest.raises(WrongSetting, match="MERCATO_PROT, in the environment, is not a setting"):
        load({"MERCATO_PROT": "1"})

    (own_folder / ".env").write_text("MERCATO_PROT=1\nOTHERS_PROT=1\n")
    with pytest.raises(WrongSetting, match=r"MERCATO_PROT, in \.env, is not a setting"):
        load({})


@pytest.mark.parametrize(
    "written, sentence",
    [
        (b"MERCATO_PORT=9001\nMERCATO_HOST=\xff\n", ".env cannot be read: it is no text in UTF-8."),
        (b'MERCATO_PORT=9001\nMERCATO_HOST="10.0.0.1\n', ".env cannot be understood from line 2 on."),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused_and_not_left_out(
    written: bytes, sentence: str, own_folder: Path
) -> None:
    (own_folder / ".env").write_bytes(written)
    with pytest.raises(WrongSetting) as refused:
        load({})
    assert str(refused.value) == sentence


def test_what_is_no_text_is_refused_by_name() -> None:
    with pytest.raises(WrongSetting) as refused:
        load({"MERCATO_HOST": os.fsdecode(b"10.0.0.\xff")})
    assert str(refused.value) == "MERCATO_HOST is no text: it is not in UTF-8."


def test_variables_of_others_are_no_business_of_ours(own_folder: Path) -> None:
    (own_folder / ".env").write_text("OTHERS_PORT=x\n")

    assert load({"HTTP_PORT": "x", "PATH": "/bin", "TABLE_NAME": "x"}) == Settings()


def test_the_names_of_the_go_services_are_understood() -> None:
    read = load({"PORT": "3010", "LOG_LEVEL": "WARN"})

    assert (read.port, read.log_level) == (3010, "warning")
    described = {each.name: each for each in describe({"PORT": "3010"})}
    assert (described["MERCATO_PORT"].value, described["MERCATO_PORT"].source) == (
        "3010",
        "environment (PORT)",
    )
    assert described["MERCATO_PORT"].description == "port to listen on, also PORT"
    assert described["MERCATO_LOG_LEVEL"].source == "default"


def test_our_own_name_wins_over_an_alias_wherever_it_stands(own_folder: Path) -> None:
    environ = {"PORT": "3010"}
    assert load(environ, port=9003).port == 9003
    assert load(environ | {"MERCATO_PORT": "9002"}).port == 9002
    assert load(environ, {"port": 8081}).port == 3010
    (own_folder / ".env").write_text("PORT=3011\n")
    assert load(environ).port == 3010
    assert load({}).port == 3011
    assert {each.source for each in describe({}) if each.value == "3011"} == {".env (PORT)"}
    (own_folder / ".env").write_text("MERCATO_PORT=9001\n")
    assert load(environ).port == 9001


def test_an_empty_alias_sets_nothing() -> None:
    assert load({"PORT": "", "LOG_LEVEL": ""}) == Settings()


@pytest.mark.parametrize(
    "value, meant",
    [
        ("TRACE", "debug"),
        ("debug", "debug"),
        ("Info", "info"),
        ("warn", "warning"),
        ("WARNING", "warning"),
        ("error", "error"),
        ("fatal", "error"),
    ],
)
def test_the_log_levels_of_go_are_ours_by_other_words(value: str, meant: str) -> None:
    assert load({"LOG_LEVEL": value}).log_level == meant


@pytest.mark.parametrize("name, value", [("PORT", "x"), ("PORT", "0"), ("LOG_LEVEL", "loud")])
def test_a_wrong_alias_is_refused_by_its_own_name(name: str, value: str) -> None:
    with pytest.raises(WrongSetting) as refused:
        load({name: value})

    assert str(refused.value).startswith(f"{name} is {value!r}, which is not acceptable: ")


def test_every_setting_is_described() -> None:
    described = describe({"MERCATO_CORS_ORIGINS": "https://shop.example"})

    assert [each.name for each in described] == [variable(name) for name in Settings.__struct_fields__]
    assert [each.name for each in described if not each.description] == []
    changed = [each for each in described if each.value != each.default]
    assert [(each.name, each.value) for each in changed] == [("MERCATO_CORS_ORIGINS", "https://shop.example")]


def test_a_wrong_alias_that_our_own_name_overrides_stops_nothing() -> None:
    assert load({"LOG_LEVEL": "loud", "MERCATO_LOG_LEVEL": "error"}).log_level == "error"


def test_a_wrong_log_level_of_go_is_told_what_it_takes() -> None:
    with pytest.raises(WrongSetting, match=r"LOG_LEVEL is 'loud', .*: it takes trace, debug, info, warn, "):
        load({"LOG_LEVEL": "loud"})
