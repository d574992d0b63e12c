"""The log, as text or JSON, and never with a secret in it."""

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest

from proxycore.http.redaction import Redactor
from proxycore.runtime import logs as log
from proxycore.runtime.logs import JsonFormatter, TextFormatter, configure

logger = logging.getLogger("proxycore")

SECRET = "AQ.Ab8-made_up"
REDACTOR = Redactor({SECRET: "key 1", 'pass"word\\': "client key a"})
TEXT, JSON = TextFormatter(REDACTOR), JsonFormatter(REDACTOR)
LOGGERS = ("", "proxycore", "tornado", "tornado.access", "websockets")


OVERRIDES = {"LF": 0x0A, "CR": 0x0D, "NUL": 0x00, "ESC": 0x1B, "DEL": 0x7F, "NEL": 0x85}
OVERRIDES |= {"line separator": 0x2028, "paragraph separator": 0x2029, "right-to-left override": 0x202E}
OVERRIDES |= {"isolate": 0x2066, "right-to-left mark": 0x200F, "zero width": 0x200B, "BOM": 0xFEFF}


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"levelno": logging.WARNING, "levelname": "WARNING", "msg": message, "args": arguments, **extra}
    )


def with_traceback(text: str) -> logging.LogRecord:
    with pytest.raises(ValueError, match="invalid literal") as caught:
        int(f"x{text}")
    return record("a fault", exc_info=(caught.type, caught.value, caught.tb))


@pytest.fixture
def _own_logging() -> Iterator[None]:
    """Logging that a test may configure; restored afterwards."""
    root = logging.getLogger()
    handlers, levels = root.handlers, {name: logging.getLogger(name).level for name in LOGGERS}
    root.handlers = []
    yield
    root.handlers = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_text_is_one_line_with_the_fields_at_its_end() -> None:
    line = TEXT.format(record("benched %s", "key 2", fields={"status": 429, "key": "2"}))
    assert line.endswith(" WARNING benched key 2 status=429 key=2")


def test_json_is_one_object_with_the_same_fields() -> None:
    fields = {"status": 429, "key": "2"}
    line = JSON.format(record("benched %s", "key 2", fields=fields, created=1_800_000_000.25, msecs=250.0))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "warning",
        "message": "benched key 2",
        "status": 429,
        "key": "2",
    }


def test_without_fields_there_is_the_message_alone() -> None:
    assert TEXT.format(record("ready")).endswith(" WARNING ready")
    assert set(json.loads(JSON.format(record("ready")))) == {"time", "level", "message"}


def test_unicode_text_is_written_unchanged() -> None:
    for form in (TEXT, JSON):
        assert "caf\u00e9 \U0001f511" in form.format(record("caf\u00e9 \U0001f511"))


SECRETIVE = {
    "message": record(f"the key {SECRET} is spent"),
    "argument": record("the key %s is spent", SECRET),
    "field": record("served", fields={"path": f"/v1/models?key={SECRET}"}),
    "exception": with_traceback(f"could not send {SECRET}"),
    "quoted": record('the key pass"word\\ is spent'),
    "quoted field": record("served", fields={"key": 'pass"word\\'}),
}


@pytest.mark.parametrize("form", [TEXT, JSON], ids=["text", "JSON"])
@pytest.mark.parametrize("told", SECRETIVE.values(), ids=SECRETIVE)
def test_no_secret_is_written_wherever_it_occurs(form: logging.Formatter, told: logging.LogRecord) -> None:
    line = form.format(told)
    assert SECRET not in line
    assert 'pass"word' not in line
    assert 'pass\\"word' not in line
    assert "[key 1]" in line or "[client key a]" in line


@pytest.mark.parametrize("told", SECRETIVE.values(), ids=SECRETIVE)
def test_json_stays_json_when_a_secret_was_taken_out(told: logging.LogRecord) -> None:
    assert isinstance(json.loads(JSON.format(told)), dict)


def test_json_holds_the_traceback_in_its_one_line() -> None:
    line = JSON.format(with_traceback("broken"))
    assert "\n" not in line
    assert "xbroken" in json.loads(line)["exception"]


def test_text_has_the_traceback_of_a_fault() -> None:
    assert "xbroken" in TEXT.format(with_traceback("broken"))


@pytest.mark.parametrize("form", [TEXT, JSON], ids=["text", "JSON"])
@pytest.mark.parametrize("code", OVERRIDES.values(), ids=OVERRIDES)
def test_text_from_clients_cannot_begin_a_line_or_control_the_terminal(
    form: logging.Formatter, code: int
) -> None:
    # A model's name comes from the request, and goes into the line about a bench.
    name = f"gemini{chr(code)}2027-01-15 08:00:00 INFO    all is well"
    line = form.format(record("key 1 for %s benched", name, fields={"path": name}))
    assert chr(code) not in line
    if form is JSON:
        assert json.loads(line)["path"] == name


def test_a_traceback_is_indented_so_that_no_line_of_it_looks_like_one_of_the_log() -> None:
    lines = TEXT.format(with_traceback("\n2027-01-15 08:00:00 INFO    all is well\x1b[31m")).splitlines()
    assert len(lines) > 3
    assert all(line.startswith("    ") for line in lines[1:])
    assert "\x1b" not in "".join(lines)


def test_a_value_cannot_look_like_further_fields() -> None:
    line = TEXT.format(record("served", fields={"model": 'x" status=200 key="2', "empty": ""}))
    assert line.endswith(' served model="x\\" status=200 key=\\"2" empty=""')


@pytest.mark.parametrize("form", [TEXT, JSON], ids=["text", "JSON"])
def test_long_values_are_shortened(form: logging.Formatter) -> None:
    line = form.format(record("served", fields={"path": "/" + "x" * 10_000, "status": 200}))
    assert 500 < len(line) < 700
    assert "x\u2026" in line
    assert "200" in line


@pytest.mark.parametrize("secret", ["200", "1", "true", ":", ",", '"', "time", "level", "served", "{", "00"])
def test_json_is_json_and_numbers_are_numbers_whatever_a_secret_is(secret: str) -> None:
    fields = {"status": 200, "first_byte": 0.001, "whole": True, "path": f"/v1beta/{secret}"}
    line = JsonFormatter(Redactor({secret: "client key"})).format(record("served", fields=fields))
    entry = json.loads(line)
    assert {"time", "level", "message", "status", "first_byte", "whole", "path"} == set(entry)
    assert (entry["status"], entry["first_byte"], entry["whole"]) == (200, 0.001, True)
    assert entry["level"] == "warning"


def test_text_keeps_its_time_its_level_and_its_numbers_whatever_a_secret_is() -> None:
    form = TextFormatter(Redactor({"20": "client key"}))
    line = form.format(record("served", fields={"status": 200, "path": "/v1beta"}, created=1_800_000_000.0))
    assert re.match(r"20\d\d-01-1\dT\d\d:00:00[+-]\d\d:\d\d WARNING served status=200 path=/v1beta$", line)


def test_what_is_not_known_is_absent() -> None:
    told = record("served", fields={"status": 200, "first_byte": None})
    assert "first_byte" not in TEXT.format(told)
    assert "first_byte" not in json.loads(JSON.format(told))


# Colour.


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("_own_logging")
@pytest.mark.parametrize(
    ("stream", "form", "environment", "coloured"),
    [
        (Terminal, "text", {}, True),
        (io.StringIO, "text", {}, False),
        (Terminal, "json", {"FORCE_COLOR": "1"}, False),
        (Terminal, "text", {"NO_COLOR": "1"}, False),
        (Terminal, "text", {"NO_COLOR": ""}, True),
        (Terminal, "text", {"TERM": "dumb"}, False),
        (io.StringIO, "text", {"FORCE_COLOR": "1"}, True),
        (Terminal, "text", {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    ],
)
def test_levels_are_coloured_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch,
    stream: type[io.StringIO],
    form: str,
    environment: dict[str, str],
    coloured: bool,
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    shown = stream()
    monkeypatch.setattr("sys.stderr", shown)
    configure("info", form, REDACTOR)
    logger.warning("look")
    log.flush()
    assert ("\x1b[33mWARNING" in shown.getvalue()) == coloured
    assert ("\x1b" in shown.getvalue()) == coloured


@pytest.mark.parametrize("form", [TEXT, JSON], ids=["text", "JSON"])
def test_a_lone_surrogate_does_not_make_writing_fail(form: logging.Formatter) -> None:
    # JSON can escape half of a pair; a model's name in a request can have one.
    assert "key 1 for" in form.format(record("key 1 for %s benched", "gemini-" + chr(0xD800)))


# To standard error.


@pytest.mark.usefixtures("_own_logging")
@pytest.mark.parametrize("form", ["text", "json"])
def test_lines_go_to_standard_error_in_the_form_that_was_chosen(
    capsys: pytest.CaptureFixture[str], form: str
) -> None:
    configure("info", form, REDACTOR)
    logger.info("hello %s", SECRET)
    log.flush()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "hello [key 1]" in err
    assert err.startswith("{") == (form == "json")


@pytest.mark.usefixtures("_own_logging")
def test_a_modules_own_logger_writes_the_same_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "json", REDACTOR)
    of_module = logging.getLogger("proxycore.rotation.rotator")
    of_module.debug("below the least level")
    for name in (of_module, logger):
        name.info("benched", extra={"fields": {"key": "2"}})
    log.flush()
    one, other = map(json.loads, capsys.readouterr().err.splitlines())
    assert one | {"time": ""} == other | {"time": ""}


@pytest.mark.usefixtures("_own_logging")
@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_only_lines_of_the_least_level_and_above_are_written(
    capsys: pytest.CaptureFixture[str], level: str, shown: list[str]
) -> None:
    configure(level, "json", REDACTOR)
    for name in ("debug", "info", "warning", "error"):
        logger.log(logging.getLevelNamesMapping()[name.upper()], name)
    log.flush()
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["message"] for line in lines] == shown


@pytest.mark.usefixtures("_own_logging")
@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_neither_details_of_tornado_nor_headers_of_sessions_are_written(
    capsys: pytest.CaptureFixture[str], level: str
) -> None:
    configure(level, "text", REDACTOR)
    logging.getLogger("tornado.access").info("200 GET / (127.0.0.1)")
    logging.getLogger("tornado.general").info("malformed")
    logging.getLogger("websockets.client").debug("> x-goog-api-key: something")
    log.flush()
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("_own_logging")
def test_the_least_level_is_tornados_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure("error", "text", REDACTOR)
    logging.getLogger("tornado.access").warning("404 GET / (127.0.0.1)")
    logging.getLogger("tornado.general").warning("something")
    log.flush()
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("_own_logging")
def test_an_error_of_a_library_is_logged_as_internal_error(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "json", REDACTOR)
    try:
        int(SECRET)
    except ValueError:
        logging.getLogger("asyncio").exception("Future exception was never retrieved")
    logging.getLogger("tornado.general").warning("Malformed HTTP message from 127.0.0.1")
    log.flush()
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert (entry["message"], entry["library"], entry["level"]) == ("internal error", "asyncio", "error")
    assert entry["error"].startswith("ValueError: invalid literal")
    assert "ValueError" in entry["exception"]
    assert SECRET not in line
    assert "never retrieved" not in line


@pytest.mark.usefixtures("_own_logging")
def test_messages_of_libraries_are_written_at_debug(capsys: pytest.CaptureFixture[str]) -> None:
    configure("debug", "json", REDACTOR)
    logging.getLogger("tornado.general").warning("Connect error on fd 7")
    log.flush()
    assert json.loads(capsys.readouterr().err)["message"] == "Connect error on fd 7"


@pytest.mark.usefixtures("_own_logging")
def test_configuring_again_replaces_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    configure("debug", "text", REDACTOR)
    configure("info", "json", REDACTOR)
    logger.debug("unseen")
    logger.info("once")
    log.flush()
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"] == "once"
