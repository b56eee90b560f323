-- Statements that the processes run, by name. Python names a query and never spells it.

-- :name assume_role
-- Work with the least rights where the role exists and is ours to take.
SELECT set_config('role', rolname, false) FROM pg_roles
WHERE rolname = %(role)s AND pg_has_role(current_user, oid, 'MEMBER');

-- :name acquire_shard
SELECT * FROM exchange.acquire_shard_v2(
    %(instrument_id)s, %(owner)s, %(lease_ms)s, %(epoch_min)s);

-- :name renew_lease
SELECT exchange.renew_lease_v1(%(instrument_id)s, %(epoch)s, %(lease_ms)s);

-- :name release_lease
SELECT exchange.release_lease_v2(%(instrument_id)s, %(epoch)s);

-- :name report_matcher
SELECT * FROM exchange.report_matcher_v2(%(owner)s, %(alive_ms)s);

-- :name retire_matcher
SELECT exchange.retire_matcher_v1(%(owner)s);

-- :name await_releases
LISTEN exchange_free;

-- :name list_shards
SELECT * FROM exchange.list_shards_v1();

-- :name list_matchers
SELECT * FROM exchange.list_matchers_v1();

-- :name load_orders
SELECT * FROM exchange.load_orders_v2(
    %(instrument_id)s, %(status)s, %(after)s, %(order_nos)s);

-- :name changed_orders
SELECT * FROM exchange.changed_orders_v1(%(instrument_id)s, %(after)s, %(order_no)s);

-- :name list_engine_snapshots
SELECT * FROM exchange.list_engine_snapshots_v1(%(instrument_id)s);

-- :name load_snapshot_part
SELECT * FROM exchange.load_snapshot_part_v1(%(instrument_id)s, %(sequence)s, %(part)s);

-- :name discard_snapshots
SELECT exchange.discard_snapshots_v1(%(instrument_id)s, %(after)s);

-- :name ensure_clients
SELECT client_id, client_no FROM exchange.ensure_clients_v1(%(client_ids)s);

-- :name find_first_orders
SELECT * FROM exchange.find_first_orders_v1(
    %(instrument_id)s, %(order_ids)s, %(client_ids)s, %(keys)s);

-- :name commit_batch
SELECT exchange.commit_batch_v4(
    %s, %s, %s, %s, %s, %s, %s, %s, %s,
    %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
    %s, %s, %s, %s, %s,
    %s, %s, %s, %s, %s, %s, %s, %s,
    %s, %s, %s, %s, %s, %s, %s,
    %s, %s, %s);

-- :name read_events
SELECT * FROM exchange.read_events_v1(%(instrument_id)s, %(after)s, %(limit)s);

-- :name list_instruments
SELECT * FROM exchange.list_instruments();

-- :name get_orders
SELECT * FROM exchange.get_orders_v1(%(order_ids)s);

-- :name get_order_trades
SELECT * FROM exchange.get_order_trades_v2(%(order_id)s, %(taker_only)s);

-- :name get_trades
SELECT * FROM exchange.get_trades_v2(%(instrument)s, %(limit)s);

-- :name list_orders
SELECT * FROM exchange.list_orders_v1(
    %(client_id)s, %(instrument)s, %(statuses)s,
    %(after_us)s, %(after_instrument_id)s, %(after_order_no)s, %(limit)s);

-- :name candles
SELECT * FROM exchange.candles_v2(
    %(instrument)s, %(from_us)s, %(to_us)s, %(interval_minutes)s, %(limit)s);

-- :name ticker
SELECT * FROM exchange.ticker_v2(%(instrument)s);

-- :name get_positions
SELECT * FROM exchange.get_positions_v1(%(client_id)s);

-- :name knows_client
SELECT exchange.knows_client_v1(%(client_id)s);

-- :name fees_earned
SELECT * FROM exchange.fees_earned_v1();

-- :name read_changes
SELECT * FROM exchange.read_changes_v1(%(instrument_id)s, %(after)s, %(limit)s);

-- :name read_changed_orders
SELECT * FROM exchange.read_changed_orders_v1(%(instrument_id)s, %(after)s, %(limit)s);

-- :name take_snapshot
SELECT * FROM exchange.take_snapshot_v2(%(instrument_id)s);

-- :name take_snapshot_of
SELECT t.* FROM exchange.list_instruments() i
CROSS JOIN LATERAL exchange.take_snapshot_v2(i.instrument_id, '1 minute') t
WHERE i.instrument = %(instrument)s;

-- :name thin_snapshots_of
SELECT exchange.thin_snapshots_v1(i.instrument_id, %(kept)s, %(limit)s)
FROM exchange.list_instruments() i WHERE i.instrument = %(instrument)s;

-- :name list_book_snapshots
SELECT * FROM exchange.list_book_snapshots_v1(%(instrument)s, %(limit)s);

-- :name get_book_snapshot
SELECT * FROM exchange.get_book_snapshot_v1(%(snapshot_id)s);

-- :name add_instrument
SELECT exchange.add_instrument_v2(
    %(instrument)s, %(base)s, %(quote)s, %(tick_size)s, %(lot_size)s);

-- :name set_instrument_sizes
SELECT exchange.set_instrument_sizes(%(instrument)s, %(tick_size)s, %(lot_size)s);

-- :name post_entry
SELECT * FROM exchange.post_entry_v1(
    %(kind)s, %(client_ids)s, %(assets)s, %(amounts)s::numeric[],
    %(actor)s, %(idempotency_key)s, %(reason)s);

-- :name get_balances
SELECT * FROM exchange.get_balances_v1(%(client_id)s);

-- :name list_fees
SELECT * FROM exchange.list_fees_v1();

-- :name set_fees
SELECT exchange.set_fees_v1(%(instrument)s, %(segment)s, %(maker_bps)s, %(taker_bps)s);

-- :name list_segments
SELECT * FROM exchange.list_segments_v1();

-- :name add_segment
SELECT exchange.add_segment_v1(%(segment)s, %(description)s);

-- :name assign_segment
SELECT exchange.assign_segment_v1(%(segment)s, %(client_ids)s);

-- :name settle
SELECT * FROM exchange.settle_v1(%(day)s, %(actor)s);

-- :name make_partitions
SELECT * FROM exchange.make_partitions_v1(%(ahead)s);

-- :name list_partitions
SELECT * FROM exchange.list_partitions_v1();

-- :name retire_range
SELECT exchange.retire_range_v2(%(instrument_id)s, %(first_sequence)s, %(before)s);

-- :name detach_statements
SELECT * FROM exchange.detach_statements_v1();

-- :name begin_mirror
SELECT * FROM exchange.begin_mirror_v1(%(instrument_id)s, %(owner)s, %(lease_ms)s);

-- :name store_mirror_offset
SELECT exchange.store_mirror_offset_v1(
    %(instrument_id)s, %(epoch)s, %(from_sequence)s, %(sequence)s, %(trade_no)s, %(lease_ms)s);

-- :name end_mirror
SELECT exchange.end_mirror_v1(%(instrument_id)s, %(epoch)s);

-- :name forget_mirror
SELECT exchange.forget_mirror_v1(%(instrument)s);

-- :name mirror_lags
SELECT * FROM exchange.mirror_lags_v1();

-- :name mirrored_totals
SELECT * FROM exchange.mirrored_totals_v1();

-- :name read_mirror_events
SELECT * FROM exchange.read_mirror_events_v1(%(instrument_id)s, %(after)s, %(limit)s);

-- :name read_mirror_orders
SELECT * FROM exchange.read_mirror_orders_v1(%(instrument_id)s, %(after)s, %(to)s);

-- :name restore_instrument
SELECT * FROM exchange.restore_instrument_v1(
    %(instrument)s, %(base)s, %(quote)s, %(tick_size)s::numeric, %(lot_size)s::numeric,
    %(owner)s, %(lease_ms)s);

-- :name restore_batch
SELECT exchange.restore_batch_v1(
    %(instrument_id)s, %(epoch)s, %(lease_ms)s,
    %(events)s::jsonb, %(trades)s::jsonb, %(orders)s::jsonb);

-- :name resume_mirror
SELECT exchange.resume_mirror_v1(
    %(instrument_id)s, %(epoch)s, %(from_sequence)s, %(from_trade_no)s);

-- :name restored_book
SELECT order_no, side::text, price, quantity - filled_quantity FROM exchange.orders
WHERE instrument_id = %(instrument_id)s AND status IN ('open', 'partially_filled');

-- :name restored_counts
SELECT order_no, trade_no FROM exchange.shard WHERE instrument_id = %(instrument_id)s;

-- :name current_timeline
SELECT exchange.current_timeline_v1();

-- :name begin_timeline
SELECT * FROM exchange.begin_timeline_v1(%(reason)s);

-- :name list_timelines
SELECT * FROM exchange.list_timelines_v1();

-- :name migration_head
SELECT version_num FROM exchange.alembic_version;

-- :name replica_age
-- Milliseconds; the replica has everything that was committed before. An upper bound: what tells us
-- that it is current is the last commit, also when nothing was committed since.
-- Null while it has not replayed any.
SELECT CASE WHEN pg_is_in_recovery() THEN ceil(1000 * extract(
    epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())) ELSE 0 END::bigint;

-- :name verify
SELECT invariant, detail FROM analytics.verify();

-- :name list_analysts
SELECT r.rolname, r.rolconnlimit,
       (SELECT count(*) FROM pg_stat_activity a WHERE a.usesysid = r.oid)
FROM pg_roles r
JOIN pg_auth_members m ON m.member = r.oid
JOIN pg_roles g ON g.oid = m.roleid AND g.rolname = 'exchange_analyst'
WHERE r.rolcanlogin AND NOT r.rolsuper AND NOT r.rolcreaterole
GROUP BY r.oid, r.rolname, r.rolconnlimit ORDER BY r.rolname;

-- :name list_analyst_backends
SELECT a.pid
FROM pg_stat_activity a
JOIN pg_roles r ON r.oid = a.usesysid
JOIN pg_auth_members m ON m.member = r.oid
JOIN pg_roles g ON g.oid = m.roleid AND g.rolname = 'exchange_analyst'
WHERE r.rolcanlogin AND NOT r.rolsuper AND NOT r.rolcreaterole;
-- :name register_jobs
SELECT exchange.register_jobs_v1(
    %(jobs)s, %(per_instrument)s, %(every_ms)s, %(daily_at)s::time[]);

-- :name hint_due
SELECT * FROM exchange.hint_due_v1(%(jobs)s, %(hint_ms)s, %(limit)s);

-- :name claim_run
SELECT exchange.claim_run_v1(%(job)s, %(subject)s, %(owner)s, %(lease_ms)s);

-- :name renew_run
SELECT exchange.renew_run_v1(%(run_id)s, %(lease_ms)s, %(done)s, %(total)s, %(detail)s);

-- :name finish_run
SELECT exchange.finish_run_v1(
    %(run_id)s, %(outcome)s, %(done)s, %(total)s, %(detail)s,
    %(again_ms)s, %(hint_ms)s, %(retries_max)s, %(delay_ms)s, %(delay_max_ms)s, %(runs_kept)s);

-- :name make_due
SELECT * FROM exchange.make_due_v1(%(job)s, %(subject)s, %(hint_ms)s);

-- :name list_jobs
SELECT * FROM exchange.list_jobs_v1();

-- :name list_overdue
SELECT * FROM exchange.list_overdue_v1();

-- :name unsettled_days
SELECT * FROM exchange.unsettled_days_v1();

-- :name list_statement_days
SELECT * FROM exchange.list_statement_days_v1();

-- :name statements
SELECT * FROM exchange.statements_v1(%(day)s, %(after)s, %(limit)s);

-- :name check_invariant
SELECT count(*) OVER (), broken.detail
FROM exchange.check_invariant(%(invariant)s) AS broken(detail) LIMIT %(limit)s;

-- :name compare_depth
SELECT * FROM exchange.compare_depth_v1(
    %(instrument_id)s, %(sequence)s,
    %(bid_prices)s::numeric[], %(bid_quantities)s::numeric[],
    %(ask_prices)s::numeric[], %(ask_quantities)s::numeric[]);

-- :name read_state
SELECT * FROM exchange.read_state_v1(%(instrument_id)s);

-- :name recent_clients
SELECT * FROM exchange.recent_clients_v1(%(from)s);

-- :name recent_fees
SELECT * FROM exchange.recent_fees_v1(%(from)s);

-- :name list_dead_letters
SELECT * FROM exchange.list_dead_letters_v1(%(limit)s);

-- :name redrive_dead_letter
SELECT exchange.redrive_dead_letter_v1(
    %(instrument)s, %(stream_id)s, %(actor)s, %(again)s);
