"""The crash bench of central, small: clean on the real store, and not blind to a loss."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import delete

from alprd.central.storage import db
from alprd.central.storage.store import Central
from bench.__main__ import main
from bench.central_crash import Witness, judge, run


@pytest.mark.timeout(900)
@pytest.mark.policy("R-460.5-2")
def test_killed_intakes_lose_and_double_nothing_and_a_loss_is_seen(tmp_path: Path) -> None:
    witness = Witness()
    score = run(tmp_path, kills=3, cars=2, seed=5, witness=witness)
    assert score.clean, score
    assert score.kills == 3
    assert score.receipted >= 2
    home = tmp_path / "central"
    lost = next(iter(witness.receipted))
    with Central(home) as central, central.database.write() as tx:
        tx.execute(delete(db.reads).where(db.reads.c.id == lost))
    seen = judge(home, witness, 3, 0, 2, 0.0)
    assert (seen.lost, seen.clean) == (1, False)
    witness.sent[next(iter(witness.receipted - {lost}))] = "OTHER1"
    assert judge(home, witness, 3, 0, 2, 0.0).lost == 2


def test_the_command_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["central-crash", "--help"])
    assert "kill -9 of central" in capsys.readouterr().out
