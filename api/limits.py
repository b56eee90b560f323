"""Rate limits at the edge: who asks, how often, and what the answer says about it."""

import asyncio
import ipaddress
import logging
import math
from collections.abc import Mapping

from sanic import Request

from api.allowances import Allowances
from api.errors import ApiError
from workers.adapters.errors import AdapterError
from workers.adapters.limits import Check, RateLimits, Verdict
from workers.core.channels import rate_key
from workers.metrics import Metrics

logger = logging.getLogger(__name__)

US_PER_S = 1_000_000
# After an error nobody is counted for so long: requests must not queue for a server that is silent.
PASS_S = 1.0
# Checks per call: bounds how long one call occupies Redis.
CHECKS_MAX = 256
# How often Redis is told of what was allowed without asking it. Each client is a key, so telling
# twenty times a second cost as much as asking for every order.
TELL_S = 1.0


class Limiter:
    """Checks requests against the limits.

    Who is far from them is counted here, and Redis is told soon after. The others are checked by
    Redis, many at a time: what asks while one call is under way goes together in the next.

    When Redis does not answer, everything passes: orders are refused by their own append, and
    reading goes on.
    """

    def __init__(
        self,
        limits: RateLimits,
        metrics: Metrics,
        *,
        behind_proxies: bool = False,
    ) -> None:
        self._limits = limits
        self._metrics = metrics
        self.behind_proxies = behind_proxies
        self._allowances = Allowances(limits.window_us, limits.requests_max)
        self._teller: asyncio.TimerHandle | None = None
        self._waiting: list[tuple[Check, asyncio.Future[Verdict | None]]] = []
        self._checker: asyncio.Task[None] | None = None
        self._pass_until = 0.0

    def take_at_once(
        self, address: str, client_id: str | None = None, cost: int = 1
    ) -> Verdict | None:
        """Take `cost` requests from an address and a client, if that can be decided here.

        None, with nothing taken, when `take` must be asked.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now < self._pass_until:
            return None
        verdict = self._allowances.take(_keys(address, client_id), cost, now * US_PER_S)
        if verdict is not None and self._teller is None:
            self._teller = loop.call_later(TELL_S, self._tell)
        return verdict

    async def take(
        self, address: str, client_id: str | None = None, cost: int = 1
    ) -> Verdict | None:
        """Take `cost` requests from an address and a client; None when nobody could count.

        Verdicts come in the order of the calls.
        """
        at_once = self.take_at_once(address, client_id, cost)
        if at_once is not None:
            return at_once
        loop = asyncio.get_running_loop()
        if loop.time() < self._pass_until:
            return None
        self._tell()  # first: Redis must know all that this process took
        verdict: asyncio.Future[Verdict | None] = loop.create_future()
        self._ask(Check(_keys(address, client_id), cost), verdict)
        answer = await verdict
        if answer is not None and not answer.allowed:
            self._metrics.rate_limited_requests.inc()
        return answer

    async def take_all(
        self, address: str, costs: Mapping[str | None, int]
    ) -> dict[str | None, Verdict | None]:
        """Take from an address and each client what it costs; return the verdicts by client."""
        verdicts = {
            client_id: self.take_at_once(address, client_id, cost)
            for client_id, cost in costs.items()
        }
        asked = [client_id for client_id, verdict in verdicts.items() if verdict is None]
        if asked:
            answers = await asyncio.gather(
                *(self.take(address, client_id, costs[client_id]) for client_id in asked)
            )
            verdicts |= zip(asked, answers, strict=True)
        return verdicts

    async def admit(self, request: Request, client_id: str | None = None, cost: int = 1) -> None:
        """Count an HTTP request; its answer will say what is left. Raises ApiError (429)."""
        verdict = await self.take(self.address(request), client_id, cost)
        if verdict is None:
            return
        request.ctx.rate_headers = self.headers(verdict)
        if not verdict.allowed:
            raise too_many(verdict)

    def address(self, request: Request) -> str:
        """Return whose request it is, by what the proxies say that we believe."""
        # Without proxies there is nothing to look for in the headers.
        return request.client_ip if self.behind_proxies else request.ip

    def headers(self, verdict: Verdict) -> dict[str, str]:
        """Return the headers that tell a client where it stands."""
        return {
            "RateLimit-Limit": str(self._limits.requests_max),
            "RateLimit-Remaining": str(verdict.remaining),
            "RateLimit-Reset": str(math.ceil(verdict.reset_us / US_PER_S)),
        }

    def _tell(self) -> None:
        """Tell Redis what was allowed without it, and learn from its answers."""
        if self._teller is not None:
            self._teller.cancel()
            self._teller = None
        loop = asyncio.get_running_loop()
        for key, cost in self._allowances.untold():
            self._ask(Check([key], cost), loop.create_future())

    def _ask(self, check: Check, verdict: "asyncio.Future[Verdict | None]") -> None:
        self._waiting.append((check, verdict))
        if self._checker is None or self._checker.done():
            self._checker = asyncio.get_running_loop().create_task(self._check())

    async def _check(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:CHECKS_MAX], self._waiting[CHECKS_MAX:]
            try:
                verdicts: list[Verdict | None] = [
                    *await self._limits.check([check for check, _ in batch])
                ]
            except Exception as error:
                if not isinstance(error, AdapterError):
                    logger.exception("requests could not be counted")
                logger.warning("cannot count requests: %s", error)
                self._pass_until = asyncio.get_running_loop().time() + PASS_S
                batch += self._waiting
                self._waiting = []
                verdicts = [None] * len(batch)
            now_us = asyncio.get_running_loop().time() * US_PER_S
            for (check, future), verdict in zip(batch, verdicts, strict=True):
                if verdict is not None:
                    self._allowances.learn(check.keys, verdict, now_us)
                if not future.done():
                    future.set_result(verdict)


def _keys(address: str, client_id: str | None) -> list[str]:
    keys = [rate_key("ip", limited_address(address))]
    if client_id is not None:
        keys.append(rate_key("client", client_id))
    return keys


def too_many(verdict: Verdict) -> ApiError:
    """Return the 429 that says when to come back."""
    seconds = max(1, math.ceil(verdict.wait_us / US_PER_S))
    return ApiError(
        "rate_limited",
        f"too many requests: try again in {seconds} s",
        retry_after_s=seconds,
    )


def limited_address(address: str) -> str:
    """Return what an address is limited as: itself, or the /64 that one owner of IPv6 has."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network(f"{address.partition('%')[0]}/64", strict=False))
    except ValueError:
        return address


def rate_headers(request: Request) -> Mapping[str, str]:
    """Return the rate headers of a request's answer, none when it was not counted."""
    headers: Mapping[str, str] = getattr(request.ctx, "rate_headers", {})
    return headers
