"""Look at everything the exchange stands on, and say what to do about what is wrong."""

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from ops.checkup.finding import Finding
from ops.instance import Instance, add_data_option

MARKS = {"ok": "ok", "warning": "warning", "problem": "PROBLEM"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_data_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")


def main(args: argparse.Namespace) -> int:
    """Print what was found; exit code 1 when there is a problem. Changes nothing."""
    findings = list(examine(os.environ, Instance(args.data).running() or {}))
    healthy = not any(finding.level == "problem" for finding in findings)
    if args.json:
        rows = [asdict(finding) for finding in findings]
        print(json.dumps({"healthy": healthy, "findings": rows}, indent=2))
    else:
        _print(findings)
    return 0 if healthy else 1


def examine(env: Mapping[str, str], running: Mapping[str, object]) -> Iterator[Finding]:
    """Yield every finding. `running` is what an exchange on this machine says of itself."""
    from ops.checkup import kafka, machine, market, postgres, redis

    yield machine.check_python()
    yield machine.check_packages()
    urls = {
        variable: str(running[name])
        for variable, name in (("DATABASE_URL", "postgres_url"), ("REDIS_URL", "redis_url"))
        if name in running
    }
    port = {"PORT": str(running["port"])} if "port" in running else {}
    given = {name: value for name, value in env.items() if value}
    finding, settings = machine.check_settings(given, urls | port)
    yield finding
    if settings.port:
        yield machine.check_port(settings.host, settings.port)
    servers = machine.check_servers(given, urls)
    yield servers
    if servers.level == "problem":
        return
    answers = [*postgres.check_postgres(settings), *redis.check_redis(settings)]
    yield from answers
    yield from kafka.check_kafka(settings)
    levels = {finding.check: finding.level for finding in answers}
    if {levels.get(check) for check in ("postgres migrations", "redis clock")} <= {"ok", "warning"}:
        yield from market.check_market(settings)
        yield from kafka.check_mirror(settings)


def _print(findings: list[Finding]) -> None:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        print(f"{MARKS[finding.level]:<7}  {finding.check:<{width}}  {finding.found}")
        if finding.remedy:
            print(f"{'':7}  {'':{width}}  -> {finding.remedy}")
    problems = sum(finding.level == "problem" for finding in findings)
    warnings = sum(finding.level == "warning" for finding in findings)
    print(f"\n{len(findings)} checks, {problems} problems, {warnings} warnings")
