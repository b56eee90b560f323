"""Who reads documents by doing what they say notices when they are wrong."""

import textwrap
from pathlib import Path

import pytest

from tests.documents import Step, is_shown, reader, steps


def read(document: str, folder: Path) -> None:
    with reader(folder, 3999) as somebody:
        somebody.read(textwrap.dedent(document))


def test_what_is_a_step() -> None:
    document = """\
```sh
ls
```

text

```json
{}
```

```json
{"only": "an example"}
```

```sh   terminal
./ops/run
```

```text seen
ready
```

```sql
SELECT 1
```

Press **Ctrl-C**.
"""
    assert steps(document) == [
        Step("sh", "ls\n", 1),
        Step("printed", "{}\n", 7),
        Step("sh terminal", "./ops/run\n", 15),
        Step("seen", "ready\n", 19),
        Step("Ctrl-C", "", 27),
    ]


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a\nb\n", "a  \nb\n\n", True),
        ('{"id":"...","n":1}', '{"id":"7f","n":1}', True),
        ('{"id":"...","n":1}', '{"id":"7f","n":2}', False),
        ("a", "a\nb", False),
        ("a\n...", "a\nb", True),
        ("1.5", "1x5", False),
    ],
)
def test_what_is_shown_must_be_what_is_printed(shown: str, printed: str, same: bool) -> None:
    assert is_shown(shown, printed) is same


def test_a_document_that_is_right(tmp_path: Path) -> None:
    read(
        """
        ```sh
        name=127.0.0.1:3000; cat <<'END'
        heredocs, too
        END
        ```

        ```text
        heredocs, too
        ```

        ```sh
        echo "$name"; echo "$PORT" >&2
        ```

        ```text
        127.0.0.1:3000
        3999
        ```

        ```sh terminal
        trap 'echo bye; exit 0' INT; while read -r line; do echo "< $line"; done
        ```

        ```json typed
        {"a": 1}
        ```

        ```json seen
        {"a": ...}
        ```

        **Ctrl-C**
        """,
        tmp_path,
    )


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ("```sh\nfalse\necho on\n```\n", "line 1: failed"),
        ("```sh\nfalse | true\n```\n", "line 1: failed"),
        ("```sh\necho b\n```\n\n```text\na\n```\n", "line 5: shown:\na\n"),
        ("```sh\necho $NOT_SET\n```\n", "line 1: failed"),
        (
            "```sh terminal\ntrap 'exit 3' INT; echo hi; read\n```\n\n"
            "```text seen\nhi\n```\n\n**Ctrl-C**\n",
            "line 9: trap 'exit 3' INT; echo hi; read\n ended with 3",
        ),
    ],
)
def test_a_document_that_is_wrong(document: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as error:
        read(document, tmp_path)
    assert str(error.value).startswith(complaint)
