"""Post a deposit, a withdrawal or an adjustment; the parts that the three commands share."""

import argparse
import secrets
from collections.abc import Sequence
from decimal import Decimal

from ops.database import add_actor_option, database_url, query
from ops.instance import add_data_option
from ops.tables import print_table, text

Leg = tuple[str, str, Decimal]


def add_entry_options(parser: argparse.ArgumentParser) -> None:
    """Add what every entry is posted with."""
    add_data_option(parser)
    parser.add_argument(
        "--key", help="idempotency key: the same key has one effect (made up and printed)"
    )
    parser.add_argument("--reason", default="", help="why, for the record")
    add_actor_option(parser)


def post(args: argparse.Namespace, kind: str, legs: Sequence[Leg]) -> int:
    """Post an entry, and print it and what its clients have in its assets now."""
    url = database_url(args)
    key = args.key or f"ops-{secrets.token_hex(8)}"
    client_ids, assets, amounts = map(list, zip(*legs, strict=True))
    ((sequence, posted_at, repeated),) = query(
        url,
        "post_entry",
        {
            "kind": kind,
            "client_ids": client_ids,
            "assets": assets,
            "amounts": amounts,
            "actor": args.actor,
            "idempotency_key": key,
            "reason": args.reason,
        },
    )
    what = "was posted before, with this key; nothing changed" if repeated else "posted"
    print(f"{kind} number {sequence} {what}: {text(posted_at)}, key {key}")
    print_table(
        ("client", "asset", kind, "balance"),
        [
            (client_id, asset, amount, _balance(url, client_id, asset))
            for client_id, asset, amount in legs
        ],
    )
    return 0


def _balance(url: str, client_id: str, asset: str) -> Decimal:
    totals: dict[str, Decimal] = {
        row[0]: row[3] for row in query(url, "get_balances", {"client_id": client_id})
    }
    return totals.get(asset, Decimal(0))
