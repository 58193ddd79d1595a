"""Dashboard of inference: requests as clients measure them, and Triton's own metrics."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.panels import SizedPanel, build_board, build_number, build_time_series
from dashboards.promql import build_median_and_tail, select_series, sum_gauge, sum_rate


def build_dashboard() -> Dashboard:
    """Build the dashboard `s2ops: inference`."""
    return build_board(
        "s2ops-inference",
        "s2ops: inference",
        "Do the networks keep up, and is the GPU at work?",
        {
            "Clients": _build_client_panels(),
            "Triton": _build_triton_panels(),
            "Where the time goes": _build_time_panels(),
            "Processors": _build_processor_panels(),
        },
    )


def _build_client_panels() -> list[SizedPanel]:
    return [
        build_time_series(
            "Windows a second",
            "Answered, by network",
            {"{{network}}": sum_rate("s2ops_inference_windows_total", "network", "5m")},
            "short",
        ),
        build_time_series(
            "Windows in flight",
            "Waiting for their answer",
            {"{{network}}": sum_gauge("s2ops_inference_windows_in_flight", "network")},
            "short",
        ),
        build_time_series(
            "Wait of a row of windows",
            "Median and 95th percentile, as the client sees it",
            build_median_and_tail("s2ops_inference_seconds", "network", "5m"),
            "s",
        ),
    ]


def _build_triton_panels() -> list[SizedPanel]:
    windows, batches = _sum_by_model("nv_inference_count"), _sum_by_model("nv_inference_exec_count")
    refused = sum_rate("nv_inference_request_failure", "reason", "5m")
    return [
        build_number(
            "Servers",
            "That Prometheus sees",
            {"servers": f"count(count by (instance) ({select_series('nv_inference_request_success')}))"},
            "short",
        ),
        build_time_series(
            "Requests a second", "Answered", {"{{model}}": _sum_by_model("nv_inference_request_success")}, "reqps", 10
        ),
        build_time_series(
            "Batch size",
            "Windows computed at once, on average",
            {"{{model}}": f"{windows} / clamp_min({batches}, 0.001)"},
            "short",
            10,
        ),
        build_time_series(
            "Pending",
            "Requests in the queue now",
            {"{{model}}": sum_gauge("nv_inference_pending_request_count", "model")},
            "short",
        ),
        build_time_series("Refused", "By reason; REJECTED: the queue was full", {"{{reason}}": refused}, "reqps"),
        build_time_series(
            "Tried again",
            "Requests of clients, by the server's answer",
            {"{{reason}}": sum_rate("s2ops_retries_total", "reason", "5m", 'door="inference"')},
            "reqps",
        ),
    ]


def _build_time_panels() -> list[SizedPanel]:
    queue, compute = "nv_inference_queue_duration_us", "nv_inference_compute_infer_duration_us"
    return [
        build_time_series(
            "Queue", "Milliseconds that a request waits", {"{{model}}": _divide_by_requests(queue)}, "ms"
        ),
        build_time_series(
            "Compute", "Milliseconds that a request is computed", {"{{model}}": _divide_by_requests(compute)}, "ms"
        ),
        build_time_series(
            "Queue against compute",
            "Above 1 requests wait longer than they are worked on: more servers help",
            {"{{model}}": f"{_sum_by_model(queue)} / clamp_min({_sum_by_model(compute)}, 1)"},
            "short",
        ),
    ]


def _build_processor_panels() -> list[SizedPanel]:
    return [
        build_time_series(
            "Processor",
            "Part that Triton's node uses",
            {"{{instance}}": select_series("nv_cpu_utilization")},
            "percentunit",
            6,
        ),
        build_time_series(
            "GPU at work", "Part of the time", {"{{gpu_uuid}}": select_series("nv_gpu_utilization")}, "percentunit", 6
        ),
        build_time_series(
            "GPU memory", "Used", {"{{gpu_uuid}}": select_series("nv_gpu_memory_used_bytes")}, "bytes", 6
        ),
        build_time_series("GPU power", "Now", {"{{gpu_uuid}}": select_series("nv_gpu_power_usage")}, "watt", 6),
    ]


def _sum_by_model(metric: str) -> str:
    return sum_rate(metric, "model", "5m")


def _divide_by_requests(microseconds: str) -> str:
    """Return PromQL for milliseconds per request."""
    return f"{_sum_by_model(microseconds)} / clamp_min({_sum_by_model('nv_inference_request_success')}, 0.001) / 1000"
