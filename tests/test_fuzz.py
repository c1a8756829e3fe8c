"""The fuzzers: a short run of each finds nothing, and what they would find is told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.__main__ import TARGETS, load, main
from fuzz.harness import fuzz, generator

INPUTS = 2000

FAULTY = """
import os, random, signal
OUTCOMES = ("fine",)
MEMORY_MB = 50
def make(rng):
    return rng.randbytes(5)
def run(data):
    at = INDEX.get(data)
    if at == 10:
        raise KeyError("undocumented")
    if at == 20:
        os.kill(os.getpid(), signal.SIGSEGV)
    if at == 30:
        return "flood" if bytearray(200_000_000).count(1) else "fine"
    while at == 40:
        pass
    if at == 50:
        raise KeyError("the same once more") if True else None
    return "fine"
def _inputs():
    from fuzz.harness import generator
    return {make(generator(3, i)): i for i in (10, 20, 30, 40, 50)}
INDEX = _inputs()
"""


@pytest.mark.parametrize("name", TARGETS)
def test_a_short_run_finds_nothing(name: str, tmp_path: Path) -> None:
    """``make fuzz`` runs a hundred times as many."""
    seen: list[int] = []
    result = fuzz(name, load(name), inputs=INPUTS, seed=20, out=tmp_path, progress=seen.append)
    assert [(c.why, c.file.with_suffix(".txt").read_text()) for c in result.kept] == []
    assert result.inputs == INPUTS and sum(result.outcomes.values()) == INPUTS
    # Good seeds reach what lies behind the first checks, and damage is refused.
    assert all(count > INPUTS // 100 for count in result.outcomes.values()), result.outcomes
    assert seen == sorted(seen)


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_can_be_made_again_from_seed_and_number(name: str) -> None:
    code = (
        "import sys, hashlib; from fuzz.__main__ import load; from fuzz.harness import generator\n"
        f"t = load({name!r})\n"
        "print(hashlib.sha256(b''.join(t.make(generator(5, i)) for i in range(60))).hexdigest())"
    )
    if name == "envelope":  # its seeds are sealed anew in each process
        target = load(name)
        assert all(target.make(generator(5, i)) == target.make(generator(5, i)) for i in range(60))
        assert target.make(generator(5, 1)) != target.make(generator(6, 1))
        return
    told = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert told[0].stdout == told[1].stdout != ""


def test_every_kind_of_crash_is_told_and_its_input_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faulty_target.py").write_text(FAULTY)
    monkeypatch.syspath_prepend(str(tmp_path))
    root = Path(__file__).resolve().parent.parent
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{root}")
    target = load("faulty_target")
    out = tmp_path / "crashes"
    result = fuzz("faulty_target", target, inputs=60, seed=3, out=out)
    assert result.inputs == 60 and result.crashes == 5
    kinds = {crash.index: crash.why for crash in result.kept}
    assert kinds[10].startswith("KeyError at faulty_target.py:")
    assert kinds[20] == "died of SIGSEGV"
    assert kinds[30] == "memory"
    assert kinds[40].startswith("hangs")
    for crash in result.kept:
        assert crash.file.read_bytes() == target.make(generator(3, crash.index))
    assert "undocumented" in (out / "faulty_target-3-10.txt").read_text()
    assert result.outcomes == {"fine": 56}


def test_the_command_prints_counts_and_tells_crashes_by_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["nmea", "--inputs", "50", "--seed", "9", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["fuzz"]
    assert (told["target"], told["inputs"], told["crashes"], told["seed"]) == ("nmea", 50, 0, 9)
    saved = tmp_path / "input.bin"
    saved.write_bytes(b"$GPRMC,")
    assert main(["nmea", "--replay", str(saved)]) == 0
    assert capsys.readouterr().out == "nothing\n"
    with pytest.raises(SystemExit) as caught:
        main(["bluetooth"])
    assert caught.value.code == 2
