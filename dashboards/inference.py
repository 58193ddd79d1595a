"""The networks: what clients see, and what Triton does."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.panels import Sized, board, lines, number
from dashboards.promql import median_and_tail, now, pace, series


def dashboard() -> Dashboard:
    """`s2ops: inference`."""
    return board(
        "s2ops-inference",
        "s2ops: inference",
        "Do the networks keep up, and is the GPU at work?",
        {"Clients": _clients(), "Triton": _triton(), "Where the time goes": _times(), "Processors": _processors()},
    )


def _clients() -> list[Sized]:
    return [
        lines(
            "Windows a second",
            "Answered, by network",
            {"{{network}}": pace("s2ops_inference_windows_total", "network", "5m")},
            "short",
        ),
        lines(
            "Windows in flight",
            "Waiting for their answer",
            {"{{network}}": now("s2ops_inference_windows_in_flight", "network")},
            "short",
        ),
        lines(
            "Wait of a row of windows",
            "Median and 95th percentile, as the client sees it",
            median_and_tail("s2ops_inference_seconds", "network", "5m"),
            "s",
        ),
    ]


def _triton() -> list[Sized]:
    windows, batches = _by_model("nv_inference_count"), _by_model("nv_inference_exec_count")
    refused = pace("nv_inference_request_failure", "reason", "5m")
    return [
        number(
            "Servers",
            "That Prometheus sees",
            {"servers": f"count(count by (instance) ({series('nv_inference_request_success')}))"},
            "short",
        ),
        lines("Requests a second", "Answered", {"{{model}}": _by_model("nv_inference_request_success")}, "reqps", 10),
        lines(
            "Batch size",
            "Windows computed at once, on average",
            {"{{model}}": f"{windows} / clamp_min({batches}, 0.001)"},
            "short",
            10,
        ),
        lines(
            "Pending",
            "Requests in the queue now",
            {"{{model}}": now("nv_inference_pending_request_count", "model")},
            "short",
        ),
        lines("Refused", "By reason; REJECTED: the queue was full", {"{{reason}}": refused}, "reqps"),
        lines(
            "Tried again",
            "Requests of clients, by the server's answer",
            {"{{reason}}": pace("s2ops_retries_total", "reason", "5m", 'door="inference"')},
            "reqps",
        ),
    ]


def _times() -> list[Sized]:
    queue, compute = "nv_inference_queue_duration_us", "nv_inference_compute_infer_duration_us"
    return [
        lines("Queue", "Milliseconds that a request waits", {"{{model}}": _a_request(queue)}, "ms"),
        lines("Compute", "Milliseconds that a request is computed", {"{{model}}": _a_request(compute)}, "ms"),
        lines(
            "Queue against compute",
            "Above 1 requests wait longer than they are worked on: more servers help",
            {"{{model}}": f"{_by_model(queue)} / clamp_min({_by_model(compute)}, 1)"},
            "short",
        ),
    ]


def _processors() -> list[Sized]:
    return [
        lines(
            "Processor",
            "Part that Triton's node uses",
            {"{{instance}}": series("nv_cpu_utilization")},
            "percentunit",
            6,
        ),
        lines("GPU at work", "Part of the time", {"{{gpu_uuid}}": series("nv_gpu_utilization")}, "percentunit", 6),
        lines("GPU memory", "Used", {"{{gpu_uuid}}": series("nv_gpu_memory_used_bytes")}, "bytes", 6),
        lines("GPU power", "Now", {"{{gpu_uuid}}": series("nv_gpu_power_usage")}, "watt", 6),
    ]


def _by_model(metric: str) -> str:
    return pace(metric, "model", "5m")


def _a_request(microseconds: str) -> str:
    """Milliseconds a request."""
    return f"{_by_model(microseconds)} / clamp_min({_by_model('nv_inference_request_success')}, 0.001) / 1000"
