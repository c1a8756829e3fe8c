"""No library of ours reports to anybody: nothing leaves a car but to its own central."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.policy("R-13.824-2-2")
def test_loading_the_reader_leaves_no_report_of_the_runtime(tmp_path: Path) -> None:
    # Without CI in the environment, which silences the runtime by itself.
    plain = {k: v for k, v in os.environ.items() if k not in ("CI", "ORT_DISABLE_TELEMETRY")}
    subprocess.run(
        [sys.executable, "-c", "import alprd.photo, alprd.detect, onnxruntime"],
        env=plain | {"TMPDIR": str(tmp_path)},
        check=True,
        timeout=120,
    )
    assert list(tmp_path.iterdir()) == []
