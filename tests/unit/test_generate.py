"""The generator: the same bytes everywhere, in the proportions that were asked for."""

import argparse
import os
import subprocess
import sys
from collections import Counter
from decimal import Decimal

import orjson
import pytest

from ops.errors import OpsError
from ops.generate import Mix, add_arguments, generate, main
from workers.core.codec import IDENTIFIER
from workers.core.engine import MatchingEngine
from workers.core.messages import SubmitOrder
from workers.core.units import parse_units

MIX = Mix(orders=10_000)


@pytest.fixture(scope="module")
def lines() -> list[dict]:
    return [orjson.loads(line) for _, line in generate(MIX)]


@pytest.fixture(scope="module")
def orders(lines) -> list[dict]:
    return [line for line in lines if "cancel" not in line]


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return main(parser.parse_args(arguments))


def test_the_same_arguments_give_the_same_bytes(tmp_path, capsys):
    one, two = tmp_path / "one", tmp_path / "two"
    assert run(str(one), "--orders", "500", "--seed", "3") == 0
    assert run(str(two), "--orders", "500", "--seed", "3") == 0
    assert one.read_bytes() == two.read_bytes()
    assert "seed 3" in capsys.readouterr().err


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_hash_order_changes_nothing(hash_seed):
    program = (
        "import sys; from ops.generate import Mix, generate\n"
        "for _, line in generate(Mix(orders=500)): sys.stdout.buffer.write(line)"
    )
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    written = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True
    ).stdout
    assert written == b"".join(line for _, line in generate(Mix(orders=500)))


def test_the_first_bytes_of_seed_7_never_change():
    # A change here breaks everybody's comparison with an earlier run: say so in the changelog.
    first = [line for _, line in generate(Mix(orders=4))]
    assert first == [
        b'{"client_id":"client-2","order_id":"g7-1","instrument":"ETH-USD","side":"buy",'
        b'"type":"market","quantity":0.4189}',
        b'{"client_id":"client-1","order_id":"g7-2","instrument":"ETH-USD","side":"sell",'
        b'"type":"market","quantity":0.5428,"idempotency_key":"k7-2"}',
        b'{"client_id":"client-29","order_id":"g7-3","instrument":"BTC-USD","side":"buy",'
        b'"type":"market","quantity":0.0038}',
        b'{"client_id":"client-38","order_id":"g7-4","instrument":"BTC-USD","side":"buy",'
        b'"type":"limit","quantity":0.0072,"price":69999.7}',
    ]


def test_another_seed_shares_no_order_id():
    def ids(seed: int) -> set[str]:
        lines = (orjson.loads(line) for _, line in generate(Mix(orders=200, seed=seed)))
        return {line["order_id"] for line in lines if "order_id" in line}

    assert not ids(1) & ids(2)


def test_proportions(lines, orders):
    assert len(orders) == MIX.orders
    types = Counter(order["type"] for order in orders)
    assert types["market"] / len(orders) == pytest.approx(0.3, abs=0.02)
    assert (len(lines) - len(orders)) / len(orders) == pytest.approx(0.1, abs=0.02)
    assert Counter(order["side"] for order in orders)["buy"] == pytest.approx(5_000, abs=250)
    with_key = sum("idempotency_key" in order for order in orders)
    assert with_key / len(orders) == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize(
    ("mix", "kinds"),
    [
        (Mix(orders=100, market_share=0, cancel_share=0), {"limit"}),
        (Mix(orders=100, market_share=1, cancel_share=1), {"market"}),
        (Mix(orders=100, market_share=0, cancel_share=1), {"limit", "cancel"}),
        (Mix(orders=0), set()),
    ],
)
def test_extreme_mixes(mix, kinds):
    assert {kind for kind, _ in generate(mix)} == kinds


def test_orders_are_what_the_api_takes(orders):
    for order in orders:
        assert IDENTIFIER.fullmatch(order["client_id"])
        assert IDENTIFIER.fullmatch(order["order_id"])
        assert order["instrument"] in MIX.instruments
        assert ("price" in order) == (order["type"] == "limit")
        quantity = Decimal(str(order["quantity"]))
        assert quantity > 0
        assert quantity % Decimal("0.0001") == 0
        if "price" in order:
            price = Decimal(str(order["price"]))
            assert price > 0
            assert price % Decimal("0.01") == 0
    assert len({order["order_id"] for order in orders}) == len(orders)


def test_a_cancel_aims_once_at_an_earlier_limit_order_of_its_instrument(lines):
    cancellable: dict[str, str] = {}
    for line in lines:
        if "cancel" in line:
            assert cancellable.pop(line["cancel"]) == line["instrument"]
        elif line["type"] == "limit":
            cancellable[line["order_id"]] = line["instrument"]


def test_a_few_clients_are_very_active(orders):
    active = Counter(order["client_id"] for order in orders)
    assert len(active) > 400
    assert sum(count for _, count in active.most_common(10)) > len(orders) / 4
    assert active["client-1"] > 5 * active["client-20"]


@pytest.mark.parametrize("clients", [1, 2, 3])
def test_every_client_is_within_the_number(clients):
    drawn = {
        orjson.loads(line)["client_id"]
        for _, line in generate(Mix(orders=300, clients=clients, cancel_share=0))
    }
    assert drawn == {f"client-{number}" for number in range(1, clients + 1)}


def test_most_limit_orders_rest_and_some_cross():
    engine = MatchingEngine()
    kinds = Counter()
    for _, line in generate(Mix(orders=5_000, instruments=("BTC-USD",), cancel_share=0)):
        order = orjson.loads(line)
        events = engine.apply(submission(order))
        traded = any(type(event).__name__ == "Trade" for event in events)
        kinds[order["type"], traded] += 1
    crossing = kinds["limit", True] / (kinds["limit", True] + kinds["limit", False])
    assert 0.05 < crossing < 0.4
    assert kinds["market", True] > 0.99 * (kinds["market", True] + kinds["market", False])


def submission(order: dict) -> SubmitOrder:
    return SubmitOrder(
        order_id=order["order_id"],
        client_id=order["client_id"],
        side=order["side"],
        type=order["type"],
        price_ticks=parse_units(str(order.get("price", 0))),
        quantity_lots=parse_units(str(order["quantity"])),
        idempotency_key=order.get("idempotency_key", ""),
        order_id_given=True,
        time_us=1,
        deadline_us=2,
    )


def test_standard_output(capfdbinary):
    assert run("-", "--orders", "20", "--instruments", " X-USD ,") == 0
    written, summary = capfdbinary.readouterr()
    lines = [orjson.loads(line) for line in written.splitlines()]
    assert {line["instrument"] for line in lines} == {"X-USD"}
    assert summary.startswith(b"%d lines" % len(lines))


@pytest.mark.parametrize(
    "arguments",
    [
        ("--market-share", "1.1"),
        ("--cancel-share", "-0.1"),
        ("--market-share", "nan"),
        ("--clients", "0"),
        ("--orders", "-1"),
        ("--instruments", ","),
        ("--instruments", "BTC/USD"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, arguments):
    with pytest.raises(OpsError, match=arguments[0]):
        run(str(tmp_path / "orders"), *arguments)
    assert not (tmp_path / "orders").exists()


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(OpsError, match="No such file"):
        run(str(tmp_path / "nowhere" / "orders"))
