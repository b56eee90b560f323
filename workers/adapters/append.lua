-- Append requests to an instrument's stream, in this order. Each is taken or not by itself.
--
-- KEYS[1]   stream  orders:{<instrument>}: one entry per request, field `request`
-- KEYS[2..] string  first:{<instrument>}/<client_id>/<idempotency_key>: the order_id last sent under
--                   that key; expires
-- ARGV[1]   entries that may wait in the stream before orders are refused
-- ARGV[2]   the same for cancels, which make room
-- ARGV[3]   lifetime of a `first` key in milliseconds
-- then per request: kind (`order`, `cancel`, or `again`: an order whose `first` key must not stop
-- it), number of its `first` key among KEYS (0 for none), order_id, the encoded request
--
-- Returns -1, with nothing done, when the stream does not exist. The matcher makes the stream when
-- it takes the instrument over. A missing stream means that no matcher ever came, or that Redis lost
-- its data and the matcher has not put its floor back yet: an entry appended now could get an id
-- that the matcher has already passed.
-- Else a list with, per request: `+` appended; `-` refused, too many wait; or `=` and the order_id
-- that was sent under the same key before: not appended, PostgreSQL may hold it.
local waiting = redis.call('XLEN', KEYS[1])
if waiting == 0 and redis.call('EXISTS', KEYS[1]) == 0 then
    return -1
end
local orders_max, cancels_max, lifetime = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local results = {}
for i = 4, #ARGV, 4 do
    local kind, key = ARGV[i], KEYS[tonumber(ARGV[i + 1])]
    local first = key and kind == 'order' and redis.call('GET', key)
    local result
    if waiting >= (kind == 'cancel' and cancels_max or orders_max) then
        result = '-'
    elseif first then
        result = '=' .. first
    else
        if key then
            redis.call('SET', key, ARGV[i + 2], 'PX', lifetime)
        end
        redis.call('XADD', KEYS[1], '*', 'request', ARGV[i + 3])
        waiting = waiting + 1
        result = '+'
    end
    results[#results + 1] = result
end
return results
