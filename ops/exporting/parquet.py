"""Parquet with exact decimals, made from the CSV that PostgreSQL streams. Needs pyarrow."""

import io
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from ops.errors import OpsError
from ops.exporting.source import What

# Bytes of CSV that become a row group: what is in memory at a time.
BLOCK_LENGTH: Final = 8 * 1024 * 1024

# Prices and quantities have at most 8 decimals, values, fees and amounts 16.
_UNITS: Final = "decimal8"
_VALUE: Final = "decimal16"

COLUMNS: Final[dict[What, dict[str, str]]] = {
    "trades": {
        "trade_id": "string", "instrument": "string", "trade_no": "int64", "sequence": "int64",
        "traded_at": "time", "price": _UNITS, "quantity": _UNITS, "value": _VALUE,
        "taker_side": "string", "maker": "string", "taker": "string", "maker_order_id": "string",
        "taker_order_id": "string", "maker_fee": _VALUE, "taker_fee": _VALUE,
    },
    "orders": {
        "order_id": "string", "instrument": "string", "order_no": "int64", "client_id": "string",
        "side": "string", "type": "string", "price": _UNITS, "quantity": _UNITS,
        "filled_quantity": _UNITS, "filled_value": _VALUE, "status": "string",
        "status_reason": "string", "idempotency_key": "string", "sequence": "int64",
        "created_at": "time", "updated_at": "time",
    },
    "ledger": {
        "book": "string", "sequence": "int64", "kind": "string", "posted_at": "time",
        "leg": "int16", "account": "string", "asset": "string", "amount": _VALUE,
    },
    "events": {
        "instrument": "string", "sequence": "int64", "kind": "string", "happened_at": "time",
        "order_no": "int64", "order_id": "string", "side": "string", "type": "string",
        "price": _UNITS, "quantity": _UNITS, "reason": "string", "trade_no": "int64",
        "maker_order_no": "int64",
    },
    "book": {
        "instrument": "string", "sequence": "int64", "side": "string", "level": "int32",
        "price": _UNITS, "quantity": _UNITS, "cumulative": _UNITS, "orders": "int64",
    },
}  # fmt: skip


def write_parquet(what: What, blocks: Iterator[bytes], output: BinaryIO) -> None:
    """Write CSV blocks, of which the first has the header, as Parquet. Raises OpsError."""
    try:
        import pyarrow
        from pyarrow import csv, parquet
    except ImportError as error:
        raise OpsError(
            "Parquet needs pyarrow: pip install 'trade-engine[parquet]' (or pip install pyarrow)"
        ) from error
    types = {
        "string": pyarrow.string(),
        "int16": pyarrow.int16(),
        "int32": pyarrow.int32(),
        "int64": pyarrow.int64(),
        "time": pyarrow.timestamp("us", "UTC"),
        _UNITS: pyarrow.decimal128(38, 8),
        _VALUE: pyarrow.decimal128(38, 16),
    }
    schema = pyarrow.schema([(name, types[kind]) for name, kind in COLUMNS[what].items()])
    options = csv.ConvertOptions(
        column_types=schema,
        # PostgreSQL writes null as nothing, and an empty text in quotes.
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        null_values=[""],
    )
    with parquet.ParquetWriter(output, schema, compression="zstd") as writer:
        reader = csv.open_csv(
            # It fills what is asked for, of which each becomes a block of its own.
            io.BufferedReader(_Blocks(blocks), BLOCK_LENGTH),
            read_options=csv.ReadOptions(block_size=BLOCK_LENGTH, use_threads=False),
            convert_options=options,
        )
        for batch in reader:
            writer.write_batch(batch)


class _Blocks(io.RawIOBase):
    """Blocks of bytes as a file to read once."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._rest = block
        length = min(len(buffer), len(self._rest))
        buffer[:length] = self._rest[:length]
        self._rest = self._rest[length:]
        return length
