"""One process's connection to a Triton service: bounded, patient, and sure of which weights answer.

All requests of the process go through one event loop in a thread of its own, whichever thread asks. A bounded
number is on its way; who wants more waits, so that a slow server slows its clients down and fills no memory.
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
from s2ops.inference.triton import wire_format as messages
from s2ops.inference.triton.model_info import PARAMETER, Served
from s2ops.telemetry import metrics

T = TypeVar("T")
_LOG = logging.getLogger(__name__)

CA: Final = "S2OPS_TRITON_CA"
"""Environment: PEM file of the authority that signed the server's certificate; the system's where it is not set."""

PATIENCE: Final = "S2OPS_TRITON_PATIENCE_S"
"""Environment: how long a request is tried again before the process gives up, seconds."""

REQUEST_PIXELS: Final = 2**20
"""A request holds as many windows as fit: few enough bytes to spread over servers, many enough to be worth a call."""

_SILENCE_S: Final = 10.0
"""A full queue or a restart is no news; waiting longer is."""

_CHANNEL: Final = [
    ("grpc.lb_policy_name", "round_robin"),  # over all addresses of a headless service
    ("grpc.dns_min_time_between_resolutions_ms", 5_000),  # 30 s by default: new servers would idle
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),  # two minutes by default: a server that is back would wait
    # 4 MiB by default: -1 is no limit
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]


_PASSING: Final = {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED", "DEADLINE_EXCEEDED", "ABORTED"}
"""No server there, one that is starting or ending, a full queue, or a lost connection."""

_BROKEN: Final = {"INTERNAL", "UNKNOWN", "DATA_LOSS"}
"""A server that answers but cannot compute, which may be one of several."""


class _Again(Exception):
    """Worth another try; the message is the server's."""


class _AnsweredAgain(_Again):
    """Worth a few more tries: a server answers, and the next one may answer better."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient and how greedy a client is."""

    deadline_s: float = 60.0
    """Of a single try."""
    patience_s: float = 600.0
    """Of all tries of a request: a server may be starting, or be replaced."""
    answered_s: float = 30.0
    """Of all tries where servers answer, but none as it should: with the version seen first, or at all."""
    in_flight: int = 8
    """Requests on their way a process."""

    @classmethod
    def of_environment(cls) -> "Limits":
        """With the patience that the environment asks for."""
        text = os.environ.get(PATIENCE)
        try:
            return cls() if text is None else cls(patience_s=float(text))
        except ValueError as error:
            raise ConfigError(f"{PATIENCE} is {text!r}: give seconds, such as 600") from error


class TritonClient:
    """The models of the service at `url`, which is triton://HOST:PORT, or tritons://HOST:PORT for TLS."""

    def __init__(self, url: str, limits: Limits | None = None) -> None:
        self.url = url
        self._limits = limits or Limits.of_environment()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="triton", daemon=True).start()
        self._said = 0.0
        self._free = asyncio.Semaphore(self._limits.in_flight)

    def served(self, model: str) -> tuple[Served, int]:
        """What the server says of a model, and its largest batch. Raises ModelError, InferenceUnreachable."""
        return self._wait(self._served(model))

    def infer(self, served: Served, images: Sequence[UInt8]) -> list[UInt8]:
        """The answers to requests (n, band, y, x), in their order, each (n, *shape_out).

        Raises ModelError where the server refuses the input, InferenceUnreachable where patience ends.
        """

        async def all_of_them() -> list[UInt8]:
            tasks = [asyncio.ensure_future(self._infer(served, image)) for image in images]
            try:
                return await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()  # of no use once one has failed

        return self._wait(all_of_them())

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    @cached_property
    def _channel(self) -> grpc.aio.Channel:
        """Made inside the loop that it belongs to."""
        target = urlsplit(self.url)
        address = f"dns:///{target.netloc}"
        if target.scheme == "triton":
            return grpc.aio.insecure_channel(address, _CHANNEL)
        authority = os.environ.get(CA)
        try:
            roots = None if authority is None else Path(authority).read_bytes()
        except OSError as error:
            raise ConfigError(
                f"{CA} is {authority}, which cannot be read ({error.strerror}): name the PEM file of the authority"
            ) from error
        return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(roots), _CHANNEL)

    async def _served(self, model: str) -> tuple[Served, int]:
        async def ask() -> tuple[Served, int]:
            stub = GRPCInferenceServiceStub(self._channel)
            try:
                answer = await stub.ModelConfig(ModelConfigRequest(name=model), timeout=self._limits.deadline_s)
            except grpc.aio.AioRpcError as error:
                raise self._explained(error, model) from error
            text = answer.config.parameters[PARAMETER].string_value
            if not text:
                raise ModelError(f"{self.url}: {model} carries no {PARAMETER!r} parameter: serve it with `s2ops serve`")
            return Served.read(model, text), int(answer.config.max_batch_size)

        return await self._patiently(ask, f"a question about {model}")

    async def _infer(self, served: Served, images: UInt8) -> UInt8:
        async def ask() -> UInt8:
            call = self._channel.unary_unary(messages.INFER)  # bytes in, bytes out
            try:
                answer = await call(message, timeout=self._limits.deadline_s)
            except grpc.aio.AioRpcError as error:
                raise self._explained(error, served.model, str(served.version)) from error
            return messages.answer(served, len(images), answer)

        async with self._free:
            message = messages.request(served, images)  # a copy, so not before its turn
            return await self._patiently(ask, f"a request to {served.model}")

    async def _patiently(self, ask: Callable[[], Awaitable[T]], what: str) -> T:
        """Call `ask` until it answers; the waits grow from 0.1 s to at most 5 s, each drawn at random."""

        def say(state: RetryCallState) -> None:
            code = str(_error(state)).partition(":")[0]
            metrics.retried("inference", code if code.isupper() else "NOT_FOUND")  # a version that is gone
            now = time.monotonic()
            if (state.seconds_since_start or 0.0) > _SILENCE_S and now - self._said > 6 * _SILENCE_S:
                self._said = now  # one line a minute says it for all requests
                _LOG.warning("%s has not answered for %.0f s: %s", self.url, state.seconds_since_start, _error(state))

        def give_up(state: RetryCallState) -> Never:
            raise InferenceUnreachable(
                f"{self.url} gave no answer to {what} in {state.attempt_number} tries over "
                f"{state.seconds_since_start:.0f} s ({_error(state)}): see whether the server runs, then run again"
            ) from _error(state)

        tries = AsyncRetrying(
            retry=retry_if_exception_type(_Again),
            wait=wait_random_exponential(multiplier=0.1, max=5),
            stop=_Patience(self._limits).ends,
            before_sleep=say,
            retry_error_callback=give_up,
        )
        answer: T = await tries(ask)
        return answer

    def _explained(self, error: grpc.aio.AioRpcError, model: str, version: str | None = None) -> Exception:
        """What to do about a server's error: try again, or tell the user."""
        status, text = error.code().name, " ".join(str(error.details()).split())
        if status in _PASSING or "not at ready state" in text:
            return _Again(f"{status}: {text}")
        if status == "NOT_FOUND" and version is not None:  # it was there when the process began
            return _AnsweredAgain(
                f"version {version} of {model} is no longer served: other weights are being rolled out"
            )
        if status in _BROKEN:
            return _AnsweredAgain(f"{status}: {text}")
        if status == "NOT_FOUND":
            return ModelError(f"{self.url} serves no model {model} ({text}): start the server with `s2ops serve`")
        return ModelError(f"{self.url} refuses a request to {model} ({status}: {text})")


class _Patience:
    """When to give up on one request: sooner where servers answer than where none does."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._answered: float | None = None
        """Since when servers answer, but not as they should."""

    def ends(self, state: RetryCallState) -> bool:
        """Asked after each failed try."""
        waited = state.seconds_since_start or 0.0
        if not isinstance(_error(state), _AnsweredAgain):
            self._answered = None
        elif self._answered is None:
            self._answered = waited
        if self._answered is not None and waited - self._answered >= self._limits.answered_s:
            return True
        return waited >= self._limits.patience_s


def _error(state: RetryCallState) -> BaseException | None:
    return None if state.outcome is None else state.outcome.exception()
