"""README.md and QUICKSTART.md are done, command by command, as somebody new would."""

from pathlib import Path

import pytest

from tests.documents import ROOT, reader
from tests.exchange import free_port

README = ROOT / "README.md"
QUICKSTART = ROOT / "ops" / "docs" / "QUICKSTART.md"


@pytest.mark.parametrize("document", [QUICKSTART], ids=lambda path: path.name)
def test_every_command_does_what_the_document_says(document: Path, server_folder: Path) -> None:
    with reader(server_folder, free_port()) as somebody:
        assert somebody.read(document.read_text()) > 8
