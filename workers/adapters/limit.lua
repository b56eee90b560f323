-- Rate limits by the generic cell rate algorithm: every key has an allowance that refills steadily,
-- and a check takes from all of its keys or from none.
--
-- KEYS      string  rate:{limits}:<kind>:<name>: when the allowance is whole again, in microseconds
--                   of this server's clock; expires then
-- ARGV[1]   window in microseconds: in this time a used up allowance refills
-- ARGV[2]   the whole allowance, in requests
-- then per check: number of keys (the next ones of KEYS), cost in requests
--
-- Returns per check: 1 or 0 for allowed or not; requests left; microseconds until all are back;
-- microseconds until this check would pass (0 when it did). Of several keys the scarcest speaks.
local window, allowance = tonumber(ARGV[1]), tonumber(ARGV[2])
local interval = window / allowance
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full_at, changed, results = {}, {}, {}
local next_key = 1

for i = 3, #ARGV, 2 do
    local last_key = next_key + tonumber(ARGV[i]) - 1
    -- A check above the whole allowance passes when the allowance is untouched.
    local cost = math.min(tonumber(ARGV[i + 1]), allowance) * interval
    local latest = now
    for k = next_key, last_key do
        local key = KEYS[k]
        full_at[key] = full_at[key] or tonumber(redis.call('GET', key) or '0')
        -- Nobody can owe more than a window: the clock went back, and what is owed is not known.
        if full_at[key] > now + window then
            full_at[key] = 0
        end
        latest = math.max(latest, full_at[key])
    end
    local wait = latest + cost - now - window
    if wait <= 0 then
        for k = next_key, last_key do
            full_at[KEYS[k]] = math.max(full_at[KEYS[k]], now) + cost
            changed[KEYS[k]] = true
        end
        latest = latest + cost
    end
    results[#results + 1] = wait <= 0 and 1 or 0
    results[#results + 1] = math.max(0, math.floor((now + window - latest) / interval))
    results[#results + 1] = math.ceil(latest - now)
    results[#results + 1] = math.max(0, math.ceil(wait))
    next_key = last_key + 1
end
for key in pairs(changed) do
    -- '%.0f', because the default turns large numbers into 1.7e+15.
    redis.call('SET', key, string.format('%.0f', full_at[key]),
        'PX', math.ceil((full_at[key] - now) / 1000) + 1)
end
return results
