"""What is traded."""

from typing import NamedTuple

DEFAULT_INSTRUMENT = "BTC-USD"


class Instrument(NamedTuple):
    """An instrument: `instrument` is its public name, `instrument_id` the database's number.

    `tick_size_ticks` and `lot_size_lots` are what a price and a quantity must be a multiple of.
    """

    instrument_id: int
    instrument: str
    base_asset: str
    quote_asset: str
    tick_size_ticks: int
    lot_size_lots: int
    status: str
