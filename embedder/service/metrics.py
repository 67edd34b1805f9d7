"""Metrics of the service, for Prometheus."""

import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Metrics:
    """Counters of one service; a registry of its own, so that several can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("keyclip_requests", "Requests answered.", ["route", "status"], **own)
        self.request_seconds = Histogram(
            "keyclip_request_seconds", "From a request's first byte to its answer.", ["route"], **own
        )
        self.captions = Counter("keyclip_captions", "Captions, by what was done to them.", ["outcome"], **own)
        self.tokens = Counter("keyclip_tokens", "Tokens that went through the model.", **own)
        self.model_seconds = Counter("keyclip_model_seconds", "Time that the model was busy.", **own)
        self.pending_tokens = Gauge("keyclip_pending_tokens", "Tokens that wait for the model.", **own)
        self.requests_per_round = Histogram(
            "keyclip_requests_per_round",
            "Requests that went through the model together.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            **own,
        )

    def text(self) -> bytes:
        """All values in Prometheus' text format."""
        return generate_latest(self.registry)


class Measure:
    """ASGI middleware: counts and times every answer, whoever gave it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def noting_send(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests.labels(route, status).inc()
            self._metrics.request_seconds.labels(route).observe(time.perf_counter() - started)
