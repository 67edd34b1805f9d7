"""What Prometheus sees of the service."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


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
