-- Begin or finish publishing complete depth; the levels are written in between, in pieces.
--
-- KEYS[1]  hash    depth:{<instrument>}: epoch, sequence (-1 while the levels are being written)
-- KEYS[2]  hash    depth:{<instrument>}:bids: price_ticks -> quantity_lots
-- KEYS[3]  hash    depth:{<instrument>}:asks
-- ARGV[1]  epoch of the caller
-- ARGV[2]  'begin' or 'finish'
-- ARGV[3]  finish: the sequence   ARGV[4]  finish: channel   ARGV[5]  finish: the encoded notice
--
-- Returns 1; -1, with nothing done, when a later epoch has published already.
local published = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '-1')
if published > tonumber(ARGV[1]) then
    return -1
end
if ARGV[2] == 'begin' then
    redis.call('DEL', KEYS[2], KEYS[3])
    redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'sequence', '-1')
else
    redis.call('HSET', KEYS[1], 'sequence', ARGV[3])
    redis.call('PUBLISH', ARGV[4], ARGV[5])
end
return 1
