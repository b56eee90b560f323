"""What is due and who runs it: the functions on which every message's harmlessness rests."""

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta

import psycopg
import pytest

from tests.threads import in_threads
from workers.adapters.errors import DataRejected
from workers.adapters.jobs import (
    JobStore,
    Outcome,
    Period,
    Registration,
    Report,
    RetryPolicy,
    connect_jobs,
)

EVERY = Registration("every", False, Period(every_ms=60_000))
DAILY = Registration("daily", False, Period(daily_at=time(0, 5)))
EACH = Registration("each", True, Period(every_ms=1_000))
LEASE_MS = 60_000
POLICY = RetryPolicy(retries_max=2, delay_ms=10_000, delay_max_ms=15_000)


@pytest.fixture
def store(database_url: str) -> Iterator[JobStore]:
    store = JobStore(database_url)
    store.register([EVERY])
    yield store
    store.close()


def finish(
    store: JobStore, run_id: int, outcome: Outcome, detail: str = "", again_ms: int | None = None
) -> datetime | None:
    return store.finish(
        run_id, outcome, Report(1, 2, detail),
        policy=POLICY, runs_kept=3, again_ms=again_ms, hint_ms=5_000,
    )  # fmt: skip


def claim(store: JobStore, owner: str = "me", lease_ms: int = LEASE_MS) -> int | None:
    return store.claim("every", "", owner, lease_ms)


def due_in_s(look: psycopg.Connection, job: str = "every", subject: str = "") -> float:
    row = look.execute(
        "SELECT extract(epoch FROM due_at - clock_timestamp())::float8 FROM exchange.job_due"
        " WHERE job = %s AND subject = %s",
        (job, subject),
    ).fetchone()
    assert row is not None
    return float(row[0])


def make_due(look: psycopg.Connection) -> None:
    look.execute("UPDATE exchange.job_due SET due_at = clock_timestamp()")


def runs(look: psycopg.Connection) -> list[tuple[int, str, str]]:
    return look.execute(
        "SELECT run_id, outcome, detail FROM exchange.job_runs ORDER BY run_id"
    ).fetchall()


def expire_leases(look: psycopg.Connection) -> None:
    look.execute("UPDATE exchange.job_runs SET lease_until = clock_timestamp()")


def test_rows_are_made_once_and_for_new_instruments(
    store: JobStore, look: psycopg.Connection
) -> None:
    assert store.register([EVERY, DAILY, EACH]) == 1 + 3
    assert store.register([EVERY, DAILY, EACH]) == 0
    look.execute("SELECT exchange.add_instrument_v2('DOGE-USD', 'DOGE', 'USD', 0.1, 1)")
    assert store.register([EVERY, DAILY, EACH]) == 1
    assert due_in_s(look, "each", "DOGE-USD") <= 0


def test_another_period_comes_into_force(store: JobStore, look: psycopg.Connection) -> None:
    run_id = claim(store)
    assert run_id is not None
    finish(store, run_id, "done")
    assert 50 < due_in_s(look) <= 60
    assert store.register([Registration("every", False, Period(every_ms=5_000))]) == 1
    assert 0 < due_in_s(look) <= 5
    # A longer one does not take back what was promised.
    assert store.register([Registration("every", False, Period(every_ms=500_000))]) == 1
    assert 0 < due_in_s(look) <= 5


# (period, after, next)
NEXT = [
    (Period(every_ms=1_500), "2026-01-05 12:00:00", "2026-01-05 12:00:01.5"),
    (Period(daily_at=time(0, 0)), "2026-01-05 12:00:00", "2026-01-06 00:00:00"),
    (Period(daily_at=time(0, 0)), "2026-01-05 00:00:00", "2026-01-06 00:00:00"),
    (Period(daily_at=time(23, 30)), "2026-01-05 23:29:59", "2026-01-05 23:30:00"),
    (Period(daily_at=time(23, 30)), "2026-12-31 23:30:00", "2027-01-01 23:30:00"),
]


@pytest.mark.parametrize(("period", "after", "expected"), NEXT)
@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_next_due(
    look: psycopg.Connection, period: Period, after: str, expected: str, zone: str
) -> None:
    look.execute(f"SET timezone = '{zone}'")
    row = look.execute(
        "SELECT exchange.next_due_v1(%s, %s, %s)",
        (period.every_ms, period.daily_at, datetime.fromisoformat(after).replace(tzinfo=UTC)),
    ).fetchone()
    assert row == (datetime.fromisoformat(expected).replace(tzinfo=UTC),)


def test_a_message_delivered_twice_runs_once(store: JobStore, look: psycopg.Connection) -> None:
    first = claim(store)
    assert first is not None
    assert claim(store, "another") is None
    assert finish(store, first, "done", "all of it") is not None
    assert claim(store) is None, "it is not due any more"
    assert runs(look) == [(first, "done", "all of it")]


def test_many_claim_at_once_and_one_has_it(store: JobStore, database_url: str) -> None:
    claims = in_threads(
        database_url, 8,
        lambda connection, n: connection.execute(
            "SELECT exchange.claim_run_v1('every', '', %s, 60000)", (f"owner-{n}",)
        ).fetchone()[0],  # type: ignore[index]
    )  # fmt: skip
    assert sorted(claim is None for claim in claims) == [False] + [True] * 7


def test_many_clocks_tell_once(store: JobStore, database_url: str) -> None:
    store.register([EACH])
    told = in_threads(
        database_url, 8,
        lambda connection, _: connection.execute(
            "SELECT * FROM exchange.hint_due_v1(ARRAY['every', 'each'], 60000, 100)"
        ).fetchall(),
    )  # fmt: skip
    everything = sorted(row for rows in told for row in rows)
    assert everything == [
        ("each", "BTC-USD"), ("each", "ETH-USD"), ("each", "SOL-USD"), ("every", ""),
    ]  # fmt: skip


def test_what_was_told_is_told_again_when_nobody_came(
    store: JobStore, look: psycopg.Connection
) -> None:
    assert store.hint_due(["every"], 60_000, 10) == [("every", "")]
    assert store.hint_due(["every"], 60_000, 10) == []
    assert store.hint_due(["another"], 60_000, 10) == []
    look.execute("UPDATE exchange.job_due SET hinted_until = clock_timestamp()")
    assert store.hint_due(["every"], 0, 10) == [("every", "")]
    # Not while it runs, but again when its run is lost.
    claim(store)
    assert store.hint_due(["every"], 0, 10) == []
    expire_leases(look)
    assert store.hint_due(["every"], 0, 10) == [("every", "")]


def test_a_run_whose_process_died_is_lost_and_run_again(
    store: JobStore, look: psycopg.Connection
) -> None:
    first = claim(store)
    assert first is not None
    assert store.renew(first, LEASE_MS, Report(3, 7, "three of seven"))
    expire_leases(look)
    second = claim(store, "another")
    assert second is not None
    assert [outcome for _, outcome, _ in runs(look)] == ["lost", "running"]
    # The first was only asleep: whatever it says now changes nothing.
    assert not store.renew(first, LEASE_MS, Report(4, 7, "four"))
    assert finish(store, first, "failed", "late") is None
    assert runs(look) == [(first, "lost", "three of seven"), (second, "running", "")]
    assert finish(store, second, "done") is not None


def test_a_failed_job_is_tried_again_later_and_later(
    store: JobStore, look: psycopg.Connection
) -> None:
    delays = []
    for number in range(4):
        make_due(look)
        run_id = claim(store)
        assert run_id is not None
        finish(store, run_id, "failed", f"error {number}")
        delays.append(due_in_s(look))
    # Two retries, after 10 s and 15 s at most; then as its period has it.
    assert [round(delay, -1) for delay in delays[:1]] == [10]
    assert 14 < delays[1] <= 15
    assert 59 < delays[2] <= 60
    assert 59 < delays[3] <= 60
    make_due(look)
    run_id = claim(store)
    assert run_id is not None
    finish(store, run_id, "done")
    make_due(look)
    run_id = claim(store)
    assert run_id is not None
    finish(store, run_id, "failed", "anew")
    assert 9 < due_in_s(look) <= 10
    assert [detail for _, _, detail in runs(look)] == ["error 3", "", "anew"], "the last three"


def test_a_stopped_run_stays_due(store: JobStore, look: psycopg.Connection) -> None:
    store.hint_due(["every"], 60_000, 10)
    run_id = claim(store)
    assert run_id is not None
    finish(store, run_id, "stopped")
    assert due_in_s(look) <= 0
    assert store.hint_due(["every"], 60_000, 10) == [("every", "")]


def test_what_is_asked_for_while_it_runs_is_run_after_that(
    store: JobStore, look: psycopg.Connection
) -> None:
    run_id = claim(store)
    assert run_id is not None
    asked = look.execute("SELECT * FROM exchange.make_due_v1('every', NULL, 0)").fetchall()
    assert asked == [("", run_id)]
    assert claim(store) is None
    finish(store, run_id, "done")
    assert due_in_s(look) <= 0
    assert claim(store) is not None


def test_a_job_with_more_to_do_goes_on_without_a_clock(
    store: JobStore, look: psycopg.Connection
) -> None:
    run_id = claim(store)
    assert run_id is not None
    finish(store, run_id, "done", again_ms=0)
    assert due_in_s(look) <= 0
    assert store.hint_due(["every"], 60_000, 10) == [], "whoever ran it sends the message"
    assert claim(store) is not None


def test_jobs_that_do_not_exist(store: JobStore, look: psycopg.Connection) -> None:
    assert store.claim("no-such-job", "", "me", LEASE_MS) is None
    with pytest.raises(psycopg.Error) as refused:
        look.execute("SELECT * FROM exchange.make_due_v1('no-such-job', NULL, 0)")
    assert refused.value.sqlstate == "EX005"
    with pytest.raises(DataRejected):
        store.register([Registration("No Job", False, Period(every_ms=1))])


def test_overdue(store: JobStore, look: psycopg.Connection) -> None:
    look.execute("UPDATE exchange.job_due SET due_at = clock_timestamp() - interval '100 s'")
    overdue = "SELECT job, overdue_seconds, running FROM exchange.list_overdue_v1()"
    ((job, seconds, running),) = look.execute(overdue).fetchall()
    assert (job, running) == ("every", 0)
    assert 100 <= seconds < 200
    claim(store)
    assert look.execute(overdue).fetchall() == [("every", 0, 1)]
    expire_leases(look)
    assert look.execute(overdue).fetchall()[0][1] >= 100


def test_check_invariant_says_what_verify_says(database_url: str, look: psycopg.Connection) -> None:
    look.execute("SELECT exchange.ensure_clients_v1(ARRAY['c'])")
    look.execute("INSERT INTO exchange.balances VALUES (1, 1, 1, 5)")
    found = look.execute("SELECT invariant, detail FROM analytics.verify()").fetchall()
    assert {name for name, _ in found} == {"assets_sum_to_zero", "balances_are_their_postings"}
    with connect_jobs(database_url) as connection:
        for name, detail in found:
            asked = connection.execute("SELECT exchange.check_invariant(%s)", (name,)).fetchall()
            assert asked == [(detail,)]
        with pytest.raises(psycopg.Error) as refused:
            connection.execute("SELECT exchange.check_invariant('none')")
    assert refused.value.sqlstate == "EX005"


def test_days_that_are_not_settled(look: psycopg.Connection) -> None:
    days = "SELECT * FROM exchange.unsettled_days_v1()"
    (today,) = look.execute("SELECT (now() AT TIME ZONE 'UTC')::date").fetchone()  # type: ignore[misc]
    yesterday = today - timedelta(1)
    assert look.execute(days).fetchall() == [(yesterday,)], "nothing was ever traded"
    look.execute("SELECT exchange.settle_v1(%s, 'me')", (today - timedelta(4),))
    assert look.execute(days).fetchall() == [(today - timedelta(n),) for n in (3, 2, 1)]
    look.execute("SELECT exchange.settle_v1(%s, 'me')", (yesterday,))
    assert look.execute(days).fetchall() == []
