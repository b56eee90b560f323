-- Publish a committed batch: depth, changes, replies, and the end of its entries. A zombie publishes
-- nothing.
--
-- KEYS[1]  stream  orders:{<instrument>}
-- KEYS[2]  hash    depth:{<instrument>}: epoch, sequence
-- KEYS[3]  hash    depth:{<instrument>}:bids: price_ticks -> quantity_lots
-- KEYS[4]  hash    depth:{<instrument>}:asks
-- ARGV[1]  epoch of the caller
-- ARGV[2]  sequence before the batch   ARGV[3]  sequence after it
-- ARGV[4]  channel of depth deltas     ARGV[5]  the encoded delta
-- ARGV[6]  channel of changes          ARGV[7]  the encoded changes
-- ARGV[8]  consumer group              ARGV[9]  first stream entry id to keep
-- ARGV[10] n, number of changed bids   ARGV[11] m, of changed asks
-- ARGV[12] r, number of replies        ARGV[13] a, number of entry ids to acknowledge
-- ARGV[14] PUBLISH; in a cluster SPUBLISH, and the channels are those of the slot
-- then 2n and 2m price_ticks, quantity_lots; 2r channel, encoded replies; a entry ids
--
-- Returns 1; 0 when the depth here is not the one before the batch and must be published anew;
-- -1, with nothing done, when a later epoch has published already.
local epoch = tonumber(ARGV[1])
local published = tonumber(redis.call('HGET', KEYS[2], 'epoch') or '-1')
if published > epoch then
    return -1
end
local current = published == epoch and redis.call('HGET', KEYS[2], 'sequence') == ARGV[2]
local bids, asks, replies, acks =
    tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
local publish, at = ARGV[14], 15

local function set_levels(key, count)
    for _ = 1, count do
        if ARGV[at + 1] == '0' then
            redis.call('HDEL', key, ARGV[at])
        else
            redis.call('HSET', key, ARGV[at], ARGV[at + 1])
        end
        at = at + 2
    end
end

if current then
    set_levels(KEYS[3], bids)
    set_levels(KEYS[4], asks)
    if ARGV[2] ~= ARGV[3] then
        redis.call('HSET', KEYS[2], 'sequence', ARGV[3])
        redis.call(publish, ARGV[4], ARGV[5])
    end
else
    at = at + 2 * (bids + asks)
end
if ARGV[2] ~= ARGV[3] then
    redis.call(publish, ARGV[6], ARGV[7])
end
for _ = 1, replies do
    redis.call(publish, ARGV[at], ARGV[at + 1])
    at = at + 2
end
-- Many at a time, but no more than Lua's stack takes.
for i = at, at + acks - 1, 1000 do
    redis.call('XACK', KEYS[1], ARGV[8], unpack(ARGV, i, math.min(i + 999, at + acks - 1)))
end
redis.call('XTRIM', KEYS[1], 'MINID', '~', ARGV[9])
return current and 1 or 0
