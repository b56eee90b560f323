-- A quotient rounded half to even, exactly: "/" would round at a place that depends on its inputs,
-- and round() rounds half away from zero. The same rule as divide_half_even in workers/core/units.
-- Arguments: dividend; divisor; decimals to keep. Result: null for a divisor of 0 or null. Pure.
CREATE FUNCTION exchange.divide_half_even(
    p_dividend numeric, p_divisor numeric, p_decimals integer DEFAULT 8
) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    v_dividend numeric := abs(p_dividend) * ('1e' || p_decimals)::numeric;
    v_divisor numeric := abs(p_divisor);
    v_quotient numeric;
    v_twice numeric;
BEGIN
    IF v_divisor = 0 THEN
        RETURN NULL;
    END IF;
    v_quotient := div(v_dividend, v_divisor);
    v_twice := 2 * (v_dividend - v_quotient * v_divisor);
    IF v_twice > v_divisor OR (v_twice = v_divisor AND v_quotient % 2 = 1) THEN
        v_quotient := v_quotient + 1;
    END IF;
    RETURN trim_scale(sign(p_dividend) * sign(p_divisor) * v_quotient
                      * ('1e-' || p_decimals)::numeric);
END
$$;
