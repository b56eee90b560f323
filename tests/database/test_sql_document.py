"""The analysts' tour (ops/docs/SQL.md) says what the database says."""

import psycopg

from tests.sql_document import BLOCK, DOCUMENT, answered, fill


def test_every_answer_in_the_document_is_true(database_url: str) -> None:
    fill(database_url)
    text = DOCUMENT.read_text()
    # A document that is up to date comes back as it is.
    assert answered(text, database_url) == text, "run `python -m tests.sql_document`"


def test_every_function_is_in_the_tour(database_url: str) -> None:
    text = DOCUMENT.read_text()
    questions = " ".join(block["question"] for block in BLOCK.finditer(text))
    assert text.count("```sql\n") == len(BLOCK.findall(text))
    with psycopg.connect(database_url) as connection:
        for (name,) in connection.execute("SELECT function FROM analytics.functions").fetchall():
            assert f"analytics.{name}(" in questions, name
