"""The commands for the ledger, as an operator types them."""

import re

import psycopg
import pytest

from ops.__main__ import main
from ops.verify import broken_invariants
from tests.matcher import ONE, Matcher, cancel, limit, market
from tests.servers import other_database


class Terminal:
    """Runs commands against a database and keeps what they print, blanks squeezed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, line: str, code: int = 0) -> list[str]:
        assert main(line.split(" ")) == code, self.capsys.readouterr()
        said = self.capsys.readouterr()
        return [
            re.sub(r" +", " ", text).strip()
            for text in (said.err if code else said.out).splitlines()
        ]


@pytest.fixture
def run(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("COLUMNS", "120")
    return Terminal(capsys)


def test_entries(run: Terminal, look: psycopg.Connection) -> None:
    said, *table = run("deposit alice USD 100.50 --key first --actor me --reason wire-1")
    assert re.fullmatch(r"deposit number 1 posted: [\d :-]+Z, key first", said)
    assert table == ["client asset deposit balance", "alice USD 100.50 100.5"]
    said, *table = run("deposit alice USD 100.5 --key first --reason wire-1")
    assert "deposit number 1 was posted before, with this key; nothing changed" in said
    assert table[1] == "alice USD 100.5 100.5"
    assert run("deposit alice USD 7 --key first", 1) == [
        "Error: the key first was used for an entry of other terms, number 1"
    ]
    # Without a key one is made up, and told so that the command can be repeated.
    said, *table = run("withdraw alice USD 0.5")
    key = said.rsplit("key ", 1)[1]
    assert re.fullmatch(r"ops-[0-9a-f]{16}", key)
    assert table[1] == "alice USD 0.5 100"
    assert "posted before" in run(f"withdraw alice USD 0.5 --key {key}")[0]
    assert run("withdraw alice USD 1000", 1) == [
        "Error: alice has 100 USD and cannot withdraw 1000"
    ]
    table = run("adjust alice:USD:-30 b:o:b:USD:20 @fees:USD:10 --reason fix")[1:]
    assert table == [
        "client asset adjustment balance", "alice USD -30 70", "b:o:b USD 20 20", "@fees USD 10 10",
    ]  # fmt: skip
    assert run("adjust alice:USD:-30 bob:USD:20", 1) == [
        "Error: the legs do not balance: USD is off by -10"
    ]
    assert run("balances @world") == ["asset book posted balance", "USD house -100 -100"]
    assert run("balances nobody", 1) == ["Error: there is no client 'nobody'"]
    actors = look.execute("SELECT actor, reason FROM exchange.house_entries ORDER BY 1").fetchall()
    assert ("me", "wire-1") in actors
    assert all(actor for actor, _ in actors)
    assert broken_invariants(look) == {}


def test_fees_and_segments(run: Terminal) -> None:
    assert run("fees list") == ["No fees are set: trading costs nothing"]
    assert run("segments list") == [
        "segment clients description",
        "standard 0 Every client, until it is assigned to another segment.",
    ]
    assert run("segments add vip --description best")[-1] == "vip 0 best"
    assert run("segments add vip", 1) == ["Error: segment vip exists already"]
    run("deposit alice USD 1")
    run("deposit bob USD 1")
    said = run("segments assign vip alice bob alice")
    assert said[0] == "2 of 2 clients moved into vip"
    assert said[-1] == "vip 2 best"
    assert run("segments assign vip alice")[0] == "0 of 1 clients moved into vip"
    assert run("segments assign vip carol", 1) == ["Error: there is no client 'carol'"]
    assert run("fees set BTC-USD --segment vip --maker=-0.5 --taker 2.5") == [
        "instrument segment maker bps taker bps", "BTC-USD vip -0.5 2.5",
    ]  # fmt: skip
    assert run("fees set BTC-USD --maker 1 --taker 2")[1] == "BTC-USD standard 1 2"
    assert run("fees set NO-NE --maker 1 --taker 2", 1) == ["Error: there is no instrument NO-NE"]
    assert "may be negative" in run("fees set BTC-USD --maker 1 --taker=-2", 1)[0]


async def test_settle(run: Terminal, matcher: Matcher, look: psycopg.Connection) -> None:
    await matcher.commit(
        await matcher.apply(limit("sell", ONE, ONE, client_id="a"), market("buy", ONE))
    )
    # The tests' trades are of 2023-11-14.
    (said,) = run("settle 2023-11-14 --actor me")
    assert re.fullmatch(
        r"2023-11-14 is settled: run 1, 2 clients' obligations discharged, [\d :-]+Z, by me", said
    )
    (again,) = run("settle 2023-11-14 --actor you")
    assert again == said.replace("is settled", "was settled before")
    (refused,) = run("settle 2999-01-01", 1)
    assert refused == "Error: day 2999-01-01 is not over (UTC)"
    assert "2023-11-14 is settled already" in run("settle 2023-11-13", 1)[0]
    assert run("balances @settlement")[1:] == ["BTC house 0 0", "USD house 0 0"]


async def test_partitions(run: Terminal, matcher: Matcher, look: psycopg.Connection) -> None:
    table = run("partitions list")
    assert table[0] == "book first last state size last entry"
    assert re.fullmatch(r"house 0 4999999 in use \d+ kB", table[1])
    assert re.fullmatch(r"BTC-USD 5000000 9999999 ahead \d+ kB", table[3])
    assert run("partitions make --ahead 2")[0] == "5 ranges made"
    assert run("partitions make")[0] == "0 ranges made"
    # Let the range of instrument 1 end soon.
    look.execute("UPDATE exchange.partition_ranges SET last_sequence = 5"
                 " WHERE instrument_id = 1 AND first_sequence = 0")  # fmt: skip
    await matcher.commit(
        await matcher.apply(limit("sell", ONE, ONE, order_id="s"), market("buy", ONE // 2))
    )
    assert run("partitions detach --before 2024-01-01")[0].startswith("book")
    await matcher.commit(await matcher.apply(limit("buy", 1, ONE, order_id="b"), cancel("b")))
    assert run("partitions detach --before 2024-01-01")[0] == (
        "BTC-USD 0 to 5: orders accepted in it are still open"
    )
    await matcher.commit(await matcher.apply(cancel("s")))
    assert "not settled yet" in run("partitions detach --before 2024-01-01")[0]
    run("settle 2023-11-14")
    said = run("partitions detach --before 2024-01-01")
    assert said[0] == "BTC-USD 0 to 5: retired"
    assert (
        "ALTER TABLE exchange.trades_i1 DETACH PARTITION exchange.trades_i1_s0 CONCURRENTLY" in said
    )
    assert any(re.fullmatch(r"BTC-USD 0 5 retired \d+ kB", line) for line in said)
    assert run("partitions detach --before 2024-01-01")[0].startswith("book")


def test_before_the_migration(
    run: Terminal, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", other_database(postgres_url, "postgres"))
    for line in ("fees list", "deposit a USD 1", "settle 2024-01-01", "partitions list"):
        assert run(line, 1) == [
            "Error: The database is not migrated: run `python -m ops migrate` first"
        ]
