"""The settings: every variable, and all configuration errors in one message without a secret."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import example, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from proxycore.rotation.bench import ExponentialBackoff
from proxycore.runtime.env_reader import PLACEHOLDERS
from proxycore.runtime.memory import usable_memory
from proxycore.runtime.settings import Settings, SettingsError, parse, without_keys
from proxycore.runtime.settings_source import SettingsSource
from proxycore.transport.body_budget import MEGABYTE

EXAMPLE = Path(__file__).parents[2] / ".env.example"
ALONE = {"GOOGLE_API_KEY_1": "made-up-key-one"}


def mistakes(variables: Mapping[str, str]) -> list[str]:
    """The lines of the one message that these variables make."""
    with pytest.raises(SettingsError) as caught:
        parse(variables)
    return str(caught.value).splitlines()


def load(folder: Path, **flags: str) -> Settings:
    """The settings as the program makes them at start."""
    return SettingsSource(folder, flags).settings


def told(make: Callable[[], Settings]) -> str:
    """All warnings and errors."""
    try:
        return "\n".join(make().warnings)
    except SettingsError as error:
        return str(error)


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment has no settings but those that a test sets."""
    for name in os.environ:
        if name not in {"PATH", "HOME", "TMPDIR", "PYTEST_CURRENT_TEST"}:
            monkeypatch.delenv(name)


# Single variables.

DEFAULTS = {
    "host": "0.0.0.0",  # noqa: S104 - what the table says
    "port": 8000,
    "upstream_url": "https://generativelanguage.googleapis.com",
    "upstream_ca_file": None,
    "upstream_proxy": None,
    "upstream_proxies": {},
    "cors_allow_origins": ("*",),
    "max_attempts": 0,
    "hedge_share": 0.0,
    "max_wait": 10,
    "connect_timeout": 10,
    "first_byte_timeout": 300,
    "idle_timeout": 300,
    "max_body_bytes": 100 * MEGABYTE,
    "max_held_bytes": usable_memory() // 4,
    "bench": ExponentialBackoff(10, 600),
    "forbidden_bench": ExponentialBackoff(300, 86_400),
    "affinity": True,
    "drain_timeout": 30,
    "log_level": "info",
    "log_format": "text",
}


@pytest.mark.parametrize(("name", "value"), DEFAULTS.items(), ids=DEFAULTS)
def test_what_is_not_set_has_its_default(name: str, value: object) -> None:
    assert getattr(parse({}), name) == value


def test_without_any_variable_there_are_no_keys_and_no_warnings() -> None:
    here = parse({})
    assert (here.google_keys, here.client_keys, list(here.warnings)) == ({}, {}, [])


READ = {
    "HOST": ("127.0.0.1", "host", "127.0.0.1"),
    "PORT": ("9000", "port", 9000),
    "PORT 0": ("0", "port", 0),
    "PORT 65535": ("65535", "port", 65535),
    "UPSTREAM_URL": ("http://127.0.0.1:9001", "upstream_url", "http://127.0.0.1:9001"),
    "UPSTREAM_URL with slash": ("https://a.example/", "upstream_url", "https://a.example"),
    "UPSTREAM_URL with path": ("https://a.example/gemini/", "upstream_url", "https://a.example/gemini"),
    "UPSTREAM_URL on IPv6": ("http://[::1]:9001", "upstream_url", "http://[::1]:9001"),
    "UPSTREAM_CA_FILE": (__file__, "upstream_ca_file", __file__),
    "UPSTREAM_PROXY http": ("http://a.example:3128", "upstream_proxy", "http://a.example:3128"),
    "UPSTREAM_PROXY https": ("https://a.example:3128/", "upstream_proxy", "https://a.example:3128"),
    "UPSTREAM_PROXY socks5": ("socks5://u:p@a.example:1080", "upstream_proxy", "socks5://u:p@a.example:1080"),
    "UPSTREAM_PROXY socks5h": ("socks5h://a.example", "upstream_proxy", "socks5h://a.example"),
    "PUBLIC_URL": ("https://a.example/gemini/", "public_url", "https://a.example/gemini"),
    "PUBLIC_URL plain": ("http://a.example:8000", "public_url", "http://a.example:8000"),
    "TLS_CERT_FILE": (__file__, "tls_cert_file", __file__),
    "CORS_ALLOW_ORIGIN": ("https://a.example", "cors_allow_origins", ("https://a.example",)),
    "CORS_ALLOW_ORIGIN list": (
        "https://a.example, http://b.example:8080/,null",
        "cors_allow_origins",
        ("https://a.example", "http://b.example:8080", "null"),
    ),
    "CORS_ALLOW_ORIGIN star": ("*", "cors_allow_origins", ("*",)),
    "MAX_ATTEMPTS": ("3", "max_attempts", 3),
    "MAX_WAIT": ("2.5", "max_wait", 2.5),
    "MAX_WAIT 0": ("0", "max_wait", 0),
    "HEDGE": ("5%", "hedge_share", 0.05),
    "HEDGE a fraction of a percent": ("2.5 %", "hedge_share", 0.025),
    "HEDGE all": ("100%", "hedge_share", 1.0),
    "HEDGE off": ("Off", "hedge_share", 0.0),
    "HEDGE 0": ("0", "hedge_share", 0.0),
    "CONNECT_TIMEOUT": ("0.5", "connect_timeout", 0.5),
    "FIRST_BYTE_TIMEOUT": ("60", "first_byte_timeout", 60),
    "IDLE_TIMEOUT": ("61", "idle_timeout", 61),
    "MAX_BODY_MB": ("0.5", "max_body_bytes", MEGABYTE // 2),
    "MAX_HELD_MB": ("250.5", "max_held_bytes", 501 * MEGABYTE // 2),
    "BENCH_SECONDS": ("5", "bench", ExponentialBackoff(5, 600)),
    "BENCH_MAX_SECONDS": ("50", "bench", ExponentialBackoff(10, 50)),
    "FORBIDDEN_BENCH_SECONDS": ("5", "forbidden_bench", ExponentialBackoff(5, 86_400)),
    "FORBIDDEN_BENCH_MAX_SECONDS": ("500", "forbidden_bench", ExponentialBackoff(300, 500)),
    "AFFINITY": ("OFF", "affinity", False),
    "DRAIN_TIMEOUT": ("0", "drain_timeout", 0),
    "LOG_LEVEL": ("DEBUG", "log_level", "debug"),
    "LOG_FORMAT": ("Json", "log_format", "json"),
}


@pytest.mark.parametrize(("value", "name", "read"), READ.values(), ids=READ)
def test_what_is_set_is_read(request: pytest.FixtureRequest, value: str, name: str, read: object) -> None:
    variable = request.node.callspec.id.partition(" ")[0]
    here = parse({variable: f" {value} "})
    assert getattr(here, name) == read
    others = {field.name for field in fields(Settings)} - {name}
    assert {other: getattr(here, other) for other in others} == {
        other: getattr(parse({}), other) for other in others
    }


WRONG = {
    "PORT": ["x", "-1", "65536", "80.5", "1e3", "0x50", "9" * 5000],
    "UPSTREAM_URL": [
        "a.example",
        "ftp://a.example",
        "https://",
        "https://?",
        "https://user@a.example",
        "https://a.example:99999",
        "https://a.example:0",
        "https://a.example:x",
        "https://a.example/?a=b",
        "https://a.example/#a",
        "https://a.example?",
        "https://a.example#",
        "https://[::1",
        "https://a b",
        "https://\u00e4.example",
        "https://a\nb",
    ],
    "KEYS_FILE": ["/no/such/file", "/", "a\0b", "x" * 300],
    "UPSTREAM_CA_FILE": ["/no/such/file.pem", "/", "a\0b", "x" * 300, "x/" * 3000],
    "UPSTREAM_PROXY": ["a.example:3128", "socks4://a.example", "http://a.example/path", "http://a.example:0"],
    "PUBLIC_URL": ["a.example", "ws://a.example", "https://user@a.example", "https://a.example?x"],
    "TLS_CERT_FILE": ["/no/such/file.pem", "/"],
    "CORS_ALLOW_ORIGIN": ["a.example", "https://", "https://a.example/path", "https://a.example https://b"],
    "MAX_ATTEMPTS": ["x", "-1", "1.5", "inf", "9999999999"],
    "MAX_WAIT": ["x", "-1", "nan", "inf", "-inf", "1e10", "10s"],
    "HEDGE": ["5", "0.05", "on", "101%", "-5%", "%", "nan%", "5%%", "\u0665%"],
    "CONNECT_TIMEOUT": ["0", "-1", "x", "nan"],
    "FIRST_BYTE_TIMEOUT": ["0", "-0", "x"],
    "IDLE_TIMEOUT": ["0", "0.0", "x"],
    "MAX_BODY_MB": ["0", "-5", "x"],
    "MAX_HELD_MB": ["0", "-5", "x"],
    "BENCH_SECONDS": ["0", "x"],
    "BENCH_MAX_SECONDS": ["0", "9", "x"],
    "FORBIDDEN_BENCH_SECONDS": ["0", "x"],
    "FORBIDDEN_BENCH_MAX_SECONDS": ["0", "299", "x"],
    "AFFINITY": ["yes", "0", "on off"],
    "DRAIN_TIMEOUT": ["-1", "x"],
    "LOG_LEVEL": ["loud", "warn,info", "0"],
    "LOG_FORMAT": ["xml", "text json"],
}


@pytest.mark.parametrize(
    ("variable", "value"),
    [(variable, value) for variable, values in WRONG.items() for value in values],
    ids=[f"{variable} {value[:25]!r}" for variable, values in WRONG.items() for value in values],
)
def test_an_invalid_value_is_reported_with_its_variable(variable: str, value: str) -> None:
    (line,) = mistakes(ALONE | {variable: value})
    assert line.startswith(f"{variable}: ")


def test_all_configuration_errors_are_in_one_message() -> None:
    variables = {variable: values[0] for variable, values in WRONG.items()}
    variables["OUTPUT_API_KEY"] = "choose-a-long-random-secret"
    named = [line.partition(":")[0] for line in mistakes(variables)]
    assert sorted(named) == sorted(variables)


def test_a_first_bench_that_is_longer_than_the_longest_is_the_longest_unless_both_are_set() -> None:
    assert parse({"BENCH_SECONDS": "1000"}).bench == ExponentialBackoff(1000, 1000)
    (line,) = mistakes({"BENCH_SECONDS": "1000", "BENCH_MAX_SECONDS": "999"})
    assert line.startswith("BENCH_MAX_SECONDS: ")
    assert "BENCH_SECONDS" in line.partition(":")[2]


def test_a_tls_key_needs_its_certificate_which_may_be_in_the_same_file() -> None:
    assert parse({"TLS_CERT_FILE": __file__}).tls_key_file is None
    assert parse({"TLS_CERT_FILE": __file__, "TLS_KEY_FILE": __file__}).tls_key_file == __file__
    (line,) = mistakes({"TLS_KEY_FILE": __file__})
    assert line.startswith("TLS_KEY_FILE: ")
    assert "TLS_CERT_FILE" in line


@pytest.mark.parametrize(
    ("variables", "warned"),
    [
        ({"MAX_HELD_MB": "50"}, "bodies over 50 MB are refused"),
        (
            {"MAX_HELD_MB": "200", "WORKERS": "4"},
            "bodies over 50 MB (the share of one of 4 workers) are refused",
        ),
        ({"MAX_HELD_MB": "50", "MAX_BODY_MB": "50"}, ""),
        ({"MAX_BODY_MB": "900000000"}, ""),
    ],
)
def test_less_memory_than_one_body_may_take_is_warned_about(variables: dict[str, str], warned: str) -> None:
    (*warnings,) = (one for one in parse(ALONE | variables).warnings if one.startswith("MAX_HELD_MB: "))
    assert len(warnings) == bool(warned)
    assert all(warned in one and "MAX_BODY_MB" in one for one in warnings)


def test_a_body_limit_is_never_rounded_down_to_zero() -> None:
    variables = {"MAX_BODY_MB": "0.0000001"}
    assert "MAX_BODY_MB: " in told(lambda: parse(variables)) or parse(variables).max_body_bytes > 0


@pytest.mark.parametrize("value", ["", " ", "\t"])
def test_an_empty_value_counts_as_unset(value: str) -> None:
    variables = dict.fromkeys([*WRONG, "HOST", "OUTPUT_API_KEY", "OUTPUT_API_KEY_A"], value)
    assert parse(variables) == parse({})


# Keys.


def test_every_key_has_the_name_of_its_suffix() -> None:
    here = parse(
        {
            "GOOGLE_API_KEY": "made-up-key-a",
            "GOOGLE_API_KEY_1": "made-up-key-b",
            "GOOGLE_API_KEY_team_blue": "made-up-key-c",
            "OUTPUT_API_KEY": "the-client-secret-a",
            "OUTPUT_API_KEY_phone": "the-client-secret-b",
        }
    )
    assert here.google_keys == {
        "default": "made-up-key-a",
        "1": "made-up-key-b",
        "team_blue": "made-up-key-c",
    }
    assert here.client_keys == {"default": "the-client-secret-a", "phone": "the-client-secret-b"}
    assert list(here.warnings) == []


@pytest.mark.parametrize(
    "variable",
    ["GOOGLE_API_KEY_", "GOOGLE_API_KEYS", "GOOGLE_API_KEYRING_1", "XGOOGLE_API_KEY_1", "google_api_key"],
)
def test_variables_that_only_look_alike_are_no_keys(variable: str) -> None:
    here = parse({variable: "made-up-key-a", variable.replace("GOOGLE", "OUTPUT"): "client-secret"})
    assert (here.google_keys, here.client_keys) == ({}, {})


def test_keys_are_in_numeric_order() -> None:
    names = ["1", "2", "9", "10", "11", "100", "a", "a2", "a10", "b"]
    for order in (1, -1):
        variables = {f"GOOGLE_API_KEY_{name}": f"made-up-key-{name}" for name in names[::order]}
        assert list(parse(variables).google_keys) == names


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_key_is_refused_with_a_warning(value: str) -> None:
    here = parse({"GOOGLE_API_KEY_1": value, "GOOGLE_API_KEY_2": "made-up-key"})
    assert here.google_keys == {"2": "made-up-key"}
    (warning,) = here.warnings
    assert warning.startswith("GOOGLE_API_KEY_1: ")


def test_the_same_key_twice_counts_once_with_a_warning() -> None:
    here = parse(
        {
            "GOOGLE_API_KEY_10": "made-up-key",
            "GOOGLE_API_KEY_2": "made-up-key",
            "GOOGLE_API_KEY_3": "other-key",
        }
    )
    assert here.google_keys == {"2": "made-up-key", "3": "other-key"}
    (warning,) = here.warnings
    assert warning.startswith("GOOGLE_API_KEY_10: ")
    assert "key 2" in warning


@pytest.mark.parametrize("prefix", ["GOOGLE_API_KEY", "OUTPUT_API_KEY"])
def test_two_keys_with_the_same_name_are_both_kept_or_warned_about(prefix: str) -> None:
    variables = {prefix: "made-up-key-a", f"{prefix}_default": "made-up-key-b"}
    assert prefix in told(lambda: parse(variables)) or len(parse(variables).secrets) == 2


PLACEHOLDER_LIKE = [
    *sorted(PLACEHOLDERS),
    "<your key>",
    "your-key",
    "YOUR_API_KEY",
    "changeme",
    "please-change-me",
    "...",
    "xxx",
]


@pytest.mark.parametrize("value", PLACEHOLDER_LIKE)
def test_a_placeholder_is_no_key(value: str) -> None:
    here = parse({"GOOGLE_API_KEY_1": value, "GOOGLE_API_KEY_2": "made-up-key"})
    assert here.google_keys == {"2": "made-up-key"}
    (warning,) = here.warnings
    assert warning.startswith("GOOGLE_API_KEY_1: ")


@pytest.mark.parametrize("value", PLACEHOLDER_LIKE)
@pytest.mark.parametrize("variable", ["OUTPUT_API_KEY", "OUTPUT_API_KEY_phone"])
def test_a_placeholder_for_a_client_key_is_an_error(variable: str, value: str) -> None:
    (line,) = mistakes(ALONE | {variable: value})
    assert line.startswith(f"{variable}: ")


def test_the_placeholders_are_those_of_the_example() -> None:
    values = dotenv_values(EXAMPLE, interpolate=False)
    text = EXAMPLE.read_text(encoding="utf-8")
    # Those that are commented out as well: people uncomment them.
    commented = dict(re.findall(r"(?m)^#\s*((?:GOOGLE|OUTPUT|ADMIN)_API_KEY\w*)=(\S+)", text))
    found = {value for name, value in (commented | values).items() if "_API_KEY" in name and value}
    assert found == PLACEHOLDERS


@pytest.mark.parametrize(
    "value", ["AQ.Ab8-made_up", "AIzaMadeUp", "sk-1", "a", "!\"#$%&'()*+-./:<=>?@[]^_`{|}~\\"]
)
def test_no_shape_of_key_is_assumed(value: str) -> None:
    here = parse({"GOOGLE_API_KEY_1": value, "OUTPUT_API_KEY": value})
    assert (here.google_keys, here.client_keys) == ({"1": value}, {"default": value})


@pytest.mark.parametrize("value", ["k\u00e9y", "nul\0", "\u200bkey"])
def test_what_a_header_cannot_carry_is_no_key(value: str) -> None:
    here = parse({"GOOGLE_API_KEY_1": value})
    assert here.google_keys == {}
    assert here.warnings[0].startswith("GOOGLE_API_KEY_1: ")


@pytest.mark.parametrize(
    "value", ["with a space", "k\u00e9y", "line\nbreak", "nul\0", "tab\there", "\u200bkey"]
)
def test_what_a_header_cannot_carry_is_no_client_key(value: str) -> None:
    (line,) = mistakes({"OUTPUT_API_KEY": value})
    assert line.startswith("OUTPUT_API_KEY: ")


def test_secrets_have_the_names_that_may_be_shown() -> None:
    here = parse(
        {"GOOGLE_API_KEY_1": "made-up-key", "OUTPUT_API_KEY": "client-a", "OUTPUT_API_KEY_b": "client-b"}
    )
    assert here.secrets == {
        "made-up-key": "key 1",
        "client-a": "client key default",
        "client-b": "client key b",
    }


# No secret is ever shown.

SECRET = "t0p-s3cret"
TELLTALE = {
    "unsendable key": {"GOOGLE_API_KEY_1": f"{SECRET} {SECRET}"},
    "doubled key": {"GOOGLE_API_KEY_1": SECRET, "GOOGLE_API_KEY_2": SECRET},
    "placeholder-like key": {"GOOGLE_API_KEY_1": f"your-{SECRET}"},
    "placeholder-like client key": {"OUTPUT_API_KEY": f"your-{SECRET}"},
    "unsendable client key": {"OUTPUT_API_KEY": f"{SECRET} x"},
    "client key": {"OUTPUT_API_KEY": SECRET},
    "proxy": {"UPSTREAM_PROXY": f"http://user:{SECRET}@a.example:3128"},
    "proxy with path": {"UPSTREAM_PROXY": f"http://user:{SECRET}@a.example/path"},
    "proxy of another scheme": {"UPSTREAM_PROXY": f"ftp://user:{SECRET}@a.example"},
    "proxy with a bad port": {"UPSTREAM_PROXY": f"http://user:{SECRET}@a.example:99999"},
    "proxy whose password has a slash": {"UPSTREAM_PROXY": f"http://user:{SECRET}/x@a.example"},
    "proxy whose password is no URL": {"UPSTREAM_PROXY": f"http://user:{SECRET}[@a.example"},
    "proxy of a key": {"GOOGLE_API_KEY_1": "AIza-a", "UPSTREAM_PROXY_1": f"http://user:{SECRET}@a.example"},
    "proxy of no key": {"UPSTREAM_PROXY_1": f"http://user:{SECRET}@a.example"},
    "proxy of no key with path": {"UPSTREAM_PROXY_1": f"http://user:{SECRET}@a.example/path"},
    "upstream with a password": {"UPSTREAM_URL": f"https://user:{SECRET}@a.example"},
    "upstream with a password alone": {"UPSTREAM_URL": f"https://:{SECRET}@a.example"},
    "upstream with a key": {"UPSTREAM_URL": f"https://a.example/?key={SECRET}"},
    "upstream without a scheme": {"UPSTREAM_URL": f"user:{SECRET}@a.example"},
}


@pytest.mark.parametrize("variables", TELLTALE.values(), ids=TELLTALE)
def test_no_secret_is_in_a_message_a_warning_or_a_repr(variables: dict[str, str]) -> None:
    shown = []

    def make() -> Settings:
        here = parse(variables)
        shown.append(repr(here))
        return here

    shown.append(told(make))
    assert SECRET not in "\n".join(shown)


@pytest.mark.parametrize("url", ["https://:pass@a.example", "https://@a.example", "https://user:@a.example"])
def test_the_upstream_has_no_credentials_of_its_own(url: str) -> None:
    (line,) = mistakes({"UPSTREAM_URL": url})
    assert line.startswith("UPSTREAM_URL: ")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        parse({}).port = 1  # type: ignore[misc] # that is the point


# Where they come from.


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=1111\nMAX_WAIT=7\nGOOGLE_API_KEY_1=from-the-file\n")
    monkeypatch.setenv("PORT", "2222")
    monkeypatch.setenv("GOOGLE_API_KEY_1", "from-the-environment")
    here = load(tmp_path)
    assert (here.port, here.max_wait) == (2222, 7)
    assert here.google_keys == {"1": "from-the-environment"}


def test_a_flag_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=1111\nHOST=127.0.0.1\n")
    monkeypatch.setenv("PORT", "2222")
    assert load(tmp_path, PORT="3333", HOST="").port == 3333
    assert load(tmp_path, PORT="3333", HOST="").host == "127.0.0.1"


def test_an_empty_variable_of_the_environment_does_not_hide_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Container tools pass unset variables as empty ones.
    (tmp_path / ".env").write_text("PORT=1111\nGOOGLE_API_KEY_1=made-up-key\nOUTPUT_API_KEY=client-secret\n")
    for variable in ("PORT", "GOOGLE_API_KEY_1", "OUTPUT_API_KEY"):
        monkeypatch.setenv(variable, "")
    here = load(tmp_path)
    assert (here.port, here.client_keys) == (1111, {"default": "client-secret"})
    assert here.google_keys == {"1": "made-up-key"}


def test_an_empty_key_in_the_environment_is_warned_about(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY_1", "")
    assert load(tmp_path).warnings[0].startswith("GOOGLE_API_KEY_1: ")


def test_a_missing_env_file_is_no_error(tmp_path: Path) -> None:
    assert load(tmp_path) == parse({})


FILES = {
    "plain": b"GOOGLE_API_KEY_1=made-up-key\nPORT=1111\n",
    "Windows": b"GOOGLE_API_KEY_1=made-up-key\r\nPORT=1111\r\n",
    "byte order mark": b"\xef\xbb\xbfGOOGLE_API_KEY_1=made-up-key\nPORT=1111\n",
    "no last line end": b"PORT=1111\nGOOGLE_API_KEY_1=made-up-key",
    "quoted": b"GOOGLE_API_KEY_1=\"made-up-key\"\nPORT='1111'\n",
    "exported": b"export GOOGLE_API_KEY_1=made-up-key\nexport PORT=1111\n",
    "spaces and comments": b"# keys\n\n GOOGLE_API_KEY_1 = made-up-key # mine\nPORT=1111 # port\n",
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_files_of_every_usual_form_are_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".env").write_bytes(content)
    here = load(tmp_path)
    assert (here.google_keys, here.port, list(here.warnings)) == ({"1": "made-up-key"}, 1111, [])


def test_a_dollar_in_a_secret_is_a_dollar(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("GOOGLE_API_KEY_1=made${HOME}up$x\nHOME=/here\n")
    assert load(tmp_path).google_keys == {"1": "made${HOME}up$x"}


@pytest.mark.parametrize(
    "content",
    [b"GOOGLE_API_KEY_1=t0p-s3cret\xff\n", "GOOGLE_API_KEY_1=t0p-s3cret\n".encode("utf-16")],
    ids=["no UTF-8", "UTF-16"],
)
def test_a_file_that_is_not_text_is_reported_without_its_content(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".env").write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load(tmp_path)
    assert str(caught.value).startswith(".env: ")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        'GOOGLE_API_KEY_1="t0p-s3cret\nPORT=1111\n',
        "PORT=1111\nthis is t0p-s3cret\n",
        "PORT=1111\n=t0p-s3cret\n",
        "PORT=1111\nt0p-s3cret\n",
        "PORT=1111\nt0p-s3cret=\nT0P=t0p-s3cret\n",
    ],
    ids=["open quote", "prose", "no name", "a secret alone", "a secret as name"],
)
def test_an_invalid_line_of_the_file_is_reported_without_its_content(tmp_path: Path, content: str) -> None:
    (tmp_path / ".env").write_text(content)
    complaint = told(lambda: load(tmp_path))
    assert ".env" in complaint
    assert SECRET not in complaint


def test_a_directory_in_place_of_the_file_is_reported(tmp_path: Path) -> None:
    # Docker creates one when the file to mount does not exist.
    (tmp_path / ".env").mkdir()
    assert ".env" in told(lambda: load(tmp_path))


# What the demo goes by.


def test_the_demo_uses_all_settings_but_keys_and_upstream() -> None:
    variables = {
        "PORT": "1111",
        "LOG_LEVEL": "debug",
        "GOOGLE_API_KEY": "made-up-key",
        "GOOGLE_API_KEY_1": "made-up-key",
        "UPSTREAM_URL": "https://a.example",
        "UPSTREAM_PROXY": "http://a.example",
        "OUTPUT_API_KEY": "choose-a-long-random-secret",
        "OUTPUT_API_KEY_phone": "client-secret",
    }
    kept = {"PORT": "1111", "LOG_LEVEL": "debug", "OUTPUT_API_KEY_phone": "client-secret"}
    assert without_keys(variables) == kept


# Whatever is set.

VARIABLES = st.sampled_from(
    [
        *WRONG,
        "HOST",
        "OUTPUT_API_KEY",
        "OUTPUT_API_KEY_\u00b2",
        "GOOGLE_API_KEY",
        "GOOGLE_API_KEY_\u0661",
        "X",
    ]
)
VALUES = st.one_of(
    st.text(max_size=20),
    st.from_regex(r"(https?|socks5h?)://[a-z:@/?#\[\]0-9]{0,12}", fullmatch=True),
    st.floats().map(str),
    st.integers().map(str),
)


@given(st.dictionaries(VARIABLES | st.text("GOOGLE_API_KEY_019az", max_size=20), VALUES, max_size=6))
@example({"UPSTREAM_URL": "https://[v1.a]", "UPSTREAM_PROXY": "http://\uff03"})
@example({"CORS_ALLOW_ORIGIN": ",", "MAX_ATTEMPTS": "\u0663", "PORT": "1_0"})
@limits(max_examples=300, deadline=None)
def test_any_value_is_accepted_or_reported_as_a_configuration_error(variables: dict[str, str]) -> None:
    complaints = told(lambda: parse(variables))
    if not complaints:
        assert 0 <= parse(variables).port <= 65535
        assert parse(variables).bench.first <= parse(variables).bench.longest
    lines = complaints.splitlines() if complaints else []
    assert all(line.partition(":")[0] in variables for line in lines)


def test_a_file_that_a_windows_editor_wrote_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfGOOGLE_API_KEY_1=made-up-key\r\nPORT=1111\r\n")
    here = load(tmp_path)
    assert (here.google_keys, here.port) == ({"1": "made-up-key"}, 1111)
