"""The command that tests the sandbox."""

import pytest

from jobs.sandbox import main
from pipelines.errors import InputError
from pipelines.sandbox.attacks import ATTACKS
from pipelines.sandbox.choice import choose_sandbox
from pipelines.sandbox.limits import Limits


def test_it_shows_every_attack_and_the_level_that_code_gets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        backend = choose_sandbox(Limits(), allow_unsafe_execution=False).backend.name
    except InputError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("COLUMNS", "400")
    main(["--soak", "4"])
    out = capsys.readouterr().out
    assert all(attack.name in out for attack in ATTACKS)
    assert f"isolation backend: {backend}" in out
    assert "attacks stopped: 4 of 4" in out
    assert "honest samples judged rightly: 4 of 4" in out
    assert "left behind: nothing" in out
