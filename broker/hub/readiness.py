"""Two kinds of ready, told by the standard health service (grpc.health.v1).

* `routing`: a first durable acknowledgement is possible.
* `picture`: the fusion process follows every nation's log and holds all that stood in it when it began to.

A warning needs only the first. Whoever watches the hub alarms on both, and holds back nothing for the second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grpc_health.v1 import health, health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    import grpc.aio

    from broker.hub.parts import Parts

ROUTING: Final = "routing"
PICTURE: Final = "picture"
_OVERALL: Final = ""  # the health protocol's name for the whole server: as routing


class Readiness:
    """What this hub says of itself."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._servicer = health.aio.HealthServicer()
        self.ready: dict[str, bool] = {}

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve the health protocol."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set(self, service: str, *, ready: bool) -> None:
        """Say whether a service is ready."""
        if self.ready.get(service) == ready:
            return
        self.ready[service] = ready
        self._parts.metrics.ready.labels(service).set(ready)
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        await self._servicer.set(service, status)
        if service == ROUTING:
            await self._servicer.set(_OVERALL, status)

    async def look(self) -> None:
        """See whether the fusion process is where it should be."""
        nations = self._parts.door.members.nations()
        await self.set(PICTURE, ready=all(self._has_picture(code) for code in nations))

    async def stop(self) -> None:
        """Say that nothing is ready any more, and that this will not change."""
        await self._servicer.enter_graceful_shutdown()
        self._parts.metrics.ready.labels(ROUTING).set(0)
        self._parts.metrics.ready.labels(PICTURE).set(0)

    def _has_picture(self, recipient: str) -> bool:
        return any(
            not follower.national and follower.delivered >= follower.head
            for follower in self._parts.router.followers(recipient)
        )
