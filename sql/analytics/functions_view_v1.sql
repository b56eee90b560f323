CREATE VIEW analytics.functions AS
SELECT p.proname::text AS function,
       pg_get_function_arguments(p.oid) AS arguments,
       replace(split_part(ltrim(obj_description(p.oid, 'pg_proc'), E'\n'), E'\n\n', 1), E'\n', ' ')
           AS purpose,
       obj_description(p.oid, 'pg_proc') AS documentation
FROM pg_proc p
WHERE p.pronamespace = 'analytics'::regnamespace
ORDER BY p.proname;
COMMENT ON VIEW analytics.functions IS $$
The functions of this schema and their documentation; in psql also \df+ analytics.*

Columns
  function       the name, to be called as analytics.NAME(...)
  arguments      what it takes, with types and defaults
  purpose        what it is for
  documentation  all of it: purpose, arguments, columns, an example

Example
  SELECT documentation FROM analytics.functions WHERE function = 'candles';
$$;
COMMENT ON COLUMN analytics.functions.function IS 'the name, to be called as analytics.NAME(...)';
COMMENT ON COLUMN analytics.functions.arguments IS 'what it takes, with types and defaults';
COMMENT ON COLUMN analytics.functions.purpose IS 'what it is for';
COMMENT ON COLUMN analytics.functions.documentation IS
    'all of it: purpose, arguments, columns, an example';
