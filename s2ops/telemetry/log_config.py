"""Logging configuration: log events with fields on stderr, as text (logfmt style) or as JSON lines.

A module logs an event by `logging.getLogger(__name__).warning("scene left out", extra={"scene": ..., "tile": ...})`:
the message is a constant, and everything variable is a field. Only `s2ops` itself logs below WARNING.
"""

import json
import logging
import sys
from logging.config import dictConfig
from typing import Final, Literal

LogFormat = Literal["text", "json"]

_STANDARD_ATTRIBUTES: Final = frozenset({
    *vars(logging.LogRecord("", 0, "", 0, "", None, None)), "message", "asctime",
})  # fmt: skip
"""Attributes that every log record has; all others are fields of the event."""


def configure_logging(log_format: LogFormat) -> None:
    """Send all log events of this process to stderr; repeated calls replace the configuration.

    Worker processes that are started by spawn inherit nothing: pass them `configured_log_format()`.

    Args:
        log_format: "text" for `event field=value ...`, "json" for one JSON object per line with the keys `time`
            (Unix time in seconds), `event`, the event's fields and, from WARNING on, `level`.
    """
    dictConfig({
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"event": {"()": _FORMATTERS[log_format]}},
        "handlers": {"stderr": {"()": StderrHandler, "formatter": "event"}},
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {
            "s2ops": {"level": "INFO"},
            "urllib3.connectionpool": {"level": "ERROR"},  # its warnings are retries, which s2ops logs as events
        },
    })  # fmt: skip


def get_log_format() -> LogFormat | None:
    """Return the format that `configure_logging` was called with, or None if it was not called."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, StderrHandler):
            return "json" if isinstance(handler.formatter, JsonFormatter) else "text"
    return None


class StderrHandler(logging.Handler):
    """Handler that writes to the present `sys.stderr`, which a progress bar replaces while it is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            sys.stderr.write(self.format(record) + "\n")  # one call: lines of several processes do not mix
            sys.stderr.flush()
        except Exception:  # logging's own handlers do the same: a full pipe must not end a run
            self.handleError(record)


class JsonFormatter(logging.Formatter):
    """Formatter of JSON lines with sorted keys."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one JSON object."""
        line = {"time": round(record.created, 3), "event": record.getMessage(), **_collect_fields(record)}
        if record.levelno >= logging.WARNING:
            line["level"] = record.levelname.lower()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, sort_keys=True, default=str)


class TextFormatter(logging.Formatter):
    """Formatter of plain lines: the event, then its fields as `name=value` (logfmt)."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, followed by the traceback where there is one."""
        fields = (f"{name}={_quote(str(value))}" for name, value in _collect_fields(record).items())
        line = " ".join([record.getMessage(), *fields])
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


_FORMATTERS: Final = {"text": TextFormatter, "json": JsonFormatter}


def _collect_fields(record: logging.LogRecord) -> dict[str, object]:
    """Return the fields given as `extra`, in that order; a third-party event gets its logger's name."""
    fields = {name: value for name, value in vars(record).items() if name not in _STANDARD_ATTRIBUTES}
    return fields if record.name.partition(".")[0] == "s2ops" else {"logger": record.name, **fields}


def _quote(value: str) -> str:
    """Put a value in double quotes unless it is one plain word."""
    is_word = value and value.isprintable() and not set(value) & set(' "=')
    return value if is_word else json.dumps(value, ensure_ascii=False)
