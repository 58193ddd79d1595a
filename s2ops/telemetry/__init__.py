"""Telemetry: Prometheus metrics, logging, resource usage."""
