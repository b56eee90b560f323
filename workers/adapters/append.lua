-- Append requests to an instrument's stream, all or none.
--
-- KEYS[1]  stream  orders:{<instrument>}: one entry per request, field `request`
-- ARGV     the requests
--
-- Returns how many entries were appended; -1, with nothing done, when the stream does not exist.
-- The matcher makes the stream when it takes the instrument over. A missing stream means that no
-- matcher ever came, or that Redis lost its data and the matcher has not put its floor back yet:
-- an entry appended now could get an id that the matcher has already passed.
if redis.call('EXISTS', KEYS[1]) == 0 then
    return -1
end
for i = 1, #ARGV do
    redis.call('XADD', KEYS[1], '*', 'request', ARGV[i])
end
return #ARGV
