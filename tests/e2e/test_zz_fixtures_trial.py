import psycopg, redis as r


def test_a(database_url, redis_url):
    with psycopg.connect(database_url) as c:
        assert len(c.execute("select * from exchange.list_instruments()").fetchall()) == 3
        c.execute("create table public.x()")
    with r.Redis.from_url(redis_url) as c:
        assert c.dbsize() == 0
        c.set("a", 1)


test_b = test_a
