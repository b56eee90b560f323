-- Publish complete depth, in steps: begin, the levels in pieces, finish. Each step is refused when a
-- later epoch has published already: one that was held up on its way must not spoil what is there.
--
-- KEYS[1]  hash    depth:{<instrument>}: epoch, sequence (-1 while the levels are being written)
-- KEYS[2]  hash    depth:{<instrument>}:bids: price_ticks -> quantity_lots
-- KEYS[3]  hash    depth:{<instrument>}:asks
-- ARGV[1]  epoch of the caller
-- ARGV[2]  'begin', 'bids', 'asks' or 'finish'
-- then  bids, asks: price_ticks, quantity_lots of each level
--       finish: the sequence, the channel, the encoded notice, and PUBLISH or SPUBLISH
--
-- Returns 1; -1, with nothing done, when a later epoch has published already.
local published = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '-1')
if published > tonumber(ARGV[1]) then
    return -1
end
if ARGV[2] == 'begin' then
    redis.call('DEL', KEYS[2], KEYS[3])
    redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'sequence', '-1')
elseif ARGV[2] == 'bids' then
    redis.call('HSET', KEYS[2], unpack(ARGV, 3))
elseif ARGV[2] == 'asks' then
    redis.call('HSET', KEYS[3], unpack(ARGV, 3))
else
    redis.call('HSET', KEYS[1], 'sequence', ARGV[3])
    redis.call(ARGV[6], ARGV[4], ARGV[5])
end
return 1
