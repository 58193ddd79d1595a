"""URL signing with tokens of the Planetary Computer."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from s2ops.catalog.http_client import create_stac_io
from s2ops.catalog.signing import SasTokens, sign
from s2ops.errors import CatalogUnreachable
from tests.helpers.http_server import serve_json

BLOB = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/06/V/VN/B04.tif"


@contextmanager
def serve_tokens(lifetime: timedelta) -> Iterator[tuple[SasTokens, list[str]]]:
    expiry = (datetime.now(UTC) + lifetime).isoformat()
    numbers = iter(range(100))
    answer = {"msft:expiry": expiry}
    with serve_json(lambda _: (200, answer | {"token": f"se=soon&sig={next(numbers)}"})) as (url, requested):
        yield SasTokens(url, create_stac_io(retries=0)), requested


def test_sign_uses_one_token_per_container_of_the_planetary_computer() -> None:
    with serve_tokens(timedelta(hours=1)) as (tokens, requested):
        assert sign(BLOB, tokens) == f"{BLOB}?se=soon&sig=0"
        assert sign(BLOB.replace("B04", "B08"), tokens).endswith("B08.tif?se=soon&sig=0")
        assert requested == ["/sentinel2l2a01/sentinel2-l2"]
        assert "sig" not in repr(tokens)


def test_sas_tokens_replace_a_token_that_expires_soon() -> None:
    with serve_tokens(timedelta(minutes=2)) as (tokens, requested):
        assert [sign(BLOB, tokens)[-1] for _ in range(2)] == ["0", "1"]
        assert len(requested) == 2


@pytest.mark.parametrize(
    "href",
    [
        "https://host/sentinel2-l2/B04.tif",
        "https://sentinel2l2a01.blob.core.windows.net.evil.test/sentinel2-l2/B04.tif",
        "https://other.blob.core.windows.net/sentinel2-l2/B04.tif",
        "http://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/B04.tif",
        f"{BLOB}?sig=there",
        "s3://bucket/B04.tif",
        "/data/B04.tif",
    ],
)
def test_sign_sends_no_token_to_any_other_host(href: str) -> None:
    with serve_tokens(timedelta(hours=1)) as (tokens, requested):
        assert sign(href, tokens) == href
        assert requested == []


def test_sign_raises_a_transient_error_if_the_token_server_fails() -> None:
    with (
        serve_json(lambda _: (500, {})) as (url, _),
        pytest.raises(CatalogUnreachable, match="responds with status 500"),
    ):
        sign(BLOB, SasTokens(url, create_stac_io(retries=0)))
