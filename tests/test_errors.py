"""Errors: stable names in records, and translation of exceptions of other libraries."""

import pytest

from s2ops.errors import (
    InputError,
    MissingInput,
    OutputError,
    RasterError,
    SceneOutsideTile,
    StoreUnreachable,
    Translation,
    shorten_message,
    translate_errors,
)

RULES = (
    Translation((OSError,), StoreUnreachable, "run again", lambda error: error.errno == 5),
    Translation((OSError, KeyError), OutputError, "free space"),
)


def test_kind_is_the_class_name_or_the_name_that_older_records_have() -> None:
    assert [error.kind for error in (InputError, RasterError)] == ["InputError", "RasterError"]
    assert [error.kind for error in (MissingInput, SceneOutsideTile)] == ["NotMade", "OffTile"]


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (OSError(5, "no route"), StoreUnreachable, r"^Cannot write a\.tif: \[Errno 5\] no route; run again\.$"),
        (OSError(28, "disk is full"), OutputError, r"^Cannot write a\.tif: \[Errno 28\] disk is full; free space\.$"),
        (KeyError("band"), OutputError, r"^Cannot write a\.tif: 'band'; free space\.$"),
    ],
)
def test_translate_errors_uses_the_first_rule_that_applies(
    error: Exception, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught, translate_errors("Cannot write a.tif", *RULES):
        raise error
    assert caught.value.__cause__ is error


def test_translate_errors_passes_other_exceptions_and_own_errors() -> None:
    with pytest.raises(ValueError, match=r"^other$"), translate_errors("Cannot write a.tif", *RULES):
        raise ValueError("other")
    broad = Translation((Exception,), OutputError, "free space")
    with pytest.raises(RasterError, match=r"^own$"), translate_errors("Cannot write a.tif", broad):
        raise RasterError("own")


def test_shorten_message_returns_the_innermost_cause_on_one_line() -> None:
    outer = OSError("see the previous exception")
    outer.__cause__ = ValueError("block 3\nis broken.")
    assert shorten_message(outer) == "block 3 is broken"
    assert (
        shorten_message("get failed Caused by: connection refused Debug source: Error { .. }") == "connection refused"
    )
    assert shorten_message(OSError()) == "OSError"
    assert len(shorten_message("x" * 500)) == 200
