"""Triton client (gRPC): one connection per process, with bounded concurrency, retries and pinned weights.

All requests of the process run in one event loop in its own thread, whichever thread calls. The number of requests in
flight is limited and further calls wait, so a slow server slows its clients down (backpressure) and no memory fills up.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Never, TypeVar
from urllib.parse import urlsplit

import grpc.aio
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential
from tritonclient.grpc.service_pb2 import ModelConfigRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from s2ops.constants import UInt8
from s2ops.errors import ConfigError, InferenceUnreachable, ModelError
from s2ops.inference.triton.model_info import PARAMETER_NAME, ServedModelInfo
from s2ops.inference.triton.wire_format import INFER_METHOD, decode_response, encode_request
from s2ops.telemetry import metrics

T = TypeVar("T")
_LOG: Final = logging.getLogger(__name__)

CA_FILE_ENV: Final = "S2OPS_TRITON_CA"
"""Environment variable with the PEM file of the authority that signed the server's certificate.

The system's authorities are used if it is not set.
"""

PATIENCE_ENV: Final = "S2OPS_TRITON_PATIENCE_S"
"""Environment variable with the time in seconds after which the retries of a request end with an error."""

MAX_REQUEST_PX: Final = 2**20
"""Maximum number of pixels per request: few enough to spread over servers, enough to make a call worthwhile."""

_WARN_AFTER_S: Final = 10.0
"""Seconds of retries before a warning is logged: a full queue or a restart of the server is over sooner."""

_CHANNEL_OPTIONS: Final = [
    ("grpc.lb_policy_name", "round_robin"),  # use all addresses of a headless service
    ("grpc.dns_min_time_between_resolutions_ms", 5_000),  # with the default of 30 s, new servers would be idle
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),  # with the default of 2 minutes, a restarted server would be idle
    # no limit instead of the default of 4 MiB
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]


_TRANSIENT_CODES: Final = {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED", "DEADLINE_EXCEEDED", "ABORTED"}
"""gRPC codes of no server, a server that starts or ends, a full queue, or a lost connection."""

_FAULT_CODES: Final = {"INTERNAL", "UNKNOWN", "DATA_LOSS"}
"""gRPC codes of a server that answers but cannot compute; other servers of the service may be able to."""


class _RetryableError(Exception):
    """Failed attempt that should be repeated; the message is the server's."""


class _FaultyAnswerError(_RetryableError):
    """Failed attempt that a server answered; it should be repeated for a shorter time than one without an answer."""


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Limits of a client: time for attempts and retries, and number of requests."""

    deadline_s: float = 60.0
    """Maximum duration of a single attempt in seconds."""
    patience_s: float = 600.0
    """Maximum duration of all attempts of a request in seconds; a server may be starting or being replaced."""
    answered_s: float = 30.0
    """Maximum duration in seconds of attempts that servers answer with a fault or without the pinned version."""
    in_flight: int = 8
    """Maximum number of requests in flight per process."""

    @classmethod
    def from_environment(cls) -> "ClientLimits":
        """Create limits with the patience that the environment variable sets.

        Raises:
            ConfigError: If its value is not a number.
        """
        text = os.environ.get(PATIENCE_ENV)
        try:
            return cls() if text is None else cls(patience_s=float(text))
        except ValueError as error:
            raise ConfigError(
                f"Environment variable {PATIENCE_ENV} is not a number: {text!r}; set it to seconds, such as 600."
            ) from error


class TritonClient:
    """Client of the Triton service at a URL: triton://HOST:PORT, or tritons://HOST:PORT for TLS."""

    def __init__(self, url: str, limits: ClientLimits | None = None) -> None:
        self.url = url
        self._limits = limits or ClientLimits.from_environment()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="triton", daemon=True).start()
        self._warned_at = 0.0
        self._slots = asyncio.Semaphore(self._limits.in_flight)

    def fetch_model_info(self, model: str) -> tuple[ServedModelInfo, int]:
        """Fetch the description of a model from the server.

        Returns:
            The description, and the maximum batch size.

        Raises:
            ModelError: If the model is not served or does not match the pipeline.
            InferenceUnreachable: If the server does not answer in time.
        """
        return self._wait(self._fetch_model_info(model))

    def infer(self, info: ServedModelInfo, images: Sequence[UInt8]) -> list[UInt8]:
        """Send requests concurrently and return their results in the same order.

        Args:
            info: Description of the model; requests use exactly this version.
            images: uint8 levels (n, band, y, x) of each request.

        Returns:
            uint8 probabilities (n, *info.output_shape) of each request.

        Raises:
            ModelError: If the server rejects the input.
            InferenceUnreachable: If the server does not answer in time.
        """

        async def infer_all() -> list[UInt8]:
            tasks = [asyncio.ensure_future(self._infer(info, image)) for image in images]
            try:
                return await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()  # after one failure the other results are of no use

        return self._wait(infer_all())

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the event loop's thread and wait for its result."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    @cached_property
    def _channel(self) -> grpc.aio.Channel:
        """Channel of gRPC; it must first be used inside the event loop that it belongs to."""
        target = urlsplit(self.url)
        address = f"dns:///{target.netloc}"
        if target.scheme == "triton":
            return grpc.aio.insecure_channel(address, _CHANNEL_OPTIONS)
        authority = os.environ.get(CA_FILE_ENV)
        try:
            roots = None if authority is None else Path(authority).read_bytes()
        except OSError as error:
            raise ConfigError(
                f"Cannot read the certificate authority {authority} ({CA_FILE_ENV}): {error.strerror}; "
                "set the variable to the authority's PEM file."
            ) from error
        return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(roots), _CHANNEL_OPTIONS)

    async def _fetch_model_info(self, model: str) -> tuple[ServedModelInfo, int]:
        async def fetch() -> tuple[ServedModelInfo, int]:
            stub = GRPCInferenceServiceStub(self._channel)
            try:
                answer = await stub.ModelConfig(ModelConfigRequest(name=model), timeout=self._limits.deadline_s)
            except grpc.aio.AioRpcError as error:
                raise self._translate_error(error, model) from error
            text = answer.config.parameters[PARAMETER_NAME].string_value
            if not text:
                raise ModelError(
                    f"Model {model} on {self.url} is not a model of s2ops: it has no parameter {PARAMETER_NAME!r}; "
                    "start the server with `s2ops serve`."
                )
            return ServedModelInfo.from_json(model, text), int(answer.config.max_batch_size)

        return await self._retry(fetch, model, f"a query for model {model}")

    async def _infer(self, info: ServedModelInfo, images: UInt8) -> UInt8:
        async def infer() -> UInt8:
            call = self._channel.unary_unary(INFER_METHOD)  # without serializers: bytes in, bytes out
            try:
                answer = await call(message, timeout=self._limits.deadline_s)
            except grpc.aio.AioRpcError as error:
                raise self._translate_error(error, info.model, str(info.version)) from error
            return decode_response(info, len(images), answer)

        async with self._slots:
            message = encode_request(info, images)  # a copy of the pixels, so it is made only with a free slot
            return await self._retry(infer, info.model, f"a request to model {info.model}")

    async def _retry(self, call: Callable[[], Awaitable[T]], model: str, what: str) -> T:
        """Repeat a call until it succeeds; the random waits between attempts grow from 0.1 s to at most 5 s."""

        def log_retry(state: RetryCallState) -> None:
            error, waited_s = _get_error(state), state.seconds_since_start or 0.0
            code = str(error).partition(":")[0]
            code = code if code.isupper() else "NOT_FOUND"  # a version that is no longer served
            metrics.count_retry("inference", code)
            now = time.monotonic()
            # at most one warning per minute, which stands for all requests
            if waited_s > _WARN_AFTER_S and now - self._warned_at > 6 * _WARN_AFTER_S:
                self._warned_at = now
                _LOG.warning(
                    "inference request retried",
                    extra={
                        "model": model, "url": self.url, "attempt": state.attempt_number,
                        "waited_s": round(waited_s), "code": code, "reason": str(error),
                    },
                )  # fmt: skip

        def give_up(state: RetryCallState) -> Never:
            raise InferenceUnreachable(
                f"No answer from {self.url} to {what}: {state.attempt_number} attempts in "
                f"{state.seconds_since_start:.0f} s failed ({_get_error(state)}); "
                "check that the server is running, then run again."
            ) from _get_error(state)

        attempts = AsyncRetrying(
            retry=retry_if_exception_type(_RetryableError),
            wait=wait_random_exponential(multiplier=0.1, max=5),
            stop=_StopCondition(self._limits).should_stop,
            before_sleep=log_retry,
            retry_error_callback=give_up,
        )
        answer: T = await attempts(call)
        return answer

    def _translate_error(self, error: grpc.aio.AioRpcError, model: str, version: str | None = None) -> Exception:
        """Translate a gRPC error into an error to retry or an error to report."""
        status, text = error.code().name, " ".join(str(error.details()).split())
        if status in _TRANSIENT_CODES or "not at ready state" in text:
            return _RetryableError(f"{status}: {text}")
        if status == "NOT_FOUND" and version is not None:  # the version was there when the process began
            return _FaultyAnswerError(
                f"version {version} of {model} is no longer served: other weights are being rolled out"
            )
        if status in _FAULT_CODES:
            return _FaultyAnswerError(f"{status}: {text}")
        if status == "NOT_FOUND":
            return ModelError(
                f"Model {model} is not served by {self.url}: {text}; start the server with `s2ops serve`."
            )
        return ModelError(
            f"Request to model {model} was rejected by {self.url}: {status}: {text}; "
            "start the server with `s2ops serve` of the same s2ops version."
        )


class _StopCondition:
    """Stop condition for the retries of one request: sooner if servers answer than if none does."""

    def __init__(self, limits: ClientLimits) -> None:
        self._limits = limits
        self._answered_since_s: float | None = None
        """Seconds from the first attempt to the first of the latest consecutive faulty answers."""

    def should_stop(self, state: RetryCallState) -> bool:
        """Decide after a failed attempt whether to give up."""
        waited_s = state.seconds_since_start or 0.0
        if not isinstance(_get_error(state), _FaultyAnswerError):
            self._answered_since_s = None
        elif self._answered_since_s is None:
            self._answered_since_s = waited_s
        if self._answered_since_s is not None and waited_s - self._answered_since_s >= self._limits.answered_s:
            return True
        return waited_s >= self._limits.patience_s


def _get_error(state: RetryCallState) -> BaseException | None:
    return None if state.outcome is None else state.outcome.exception()
