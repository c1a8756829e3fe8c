"""Numbers of a training: shares of a mixture, losses of a step, the loss that is shown."""

from __future__ import annotations

import math


def check_share(share: float) -> None:
    """Refuse what is no share of a whole.

    Raises:
        ValueError: it is not within 0 and 1 (NaN is not).
    """
    if not 0 <= share <= 1:
        raise ValueError(f"--share {share} is no share: give a number from 0 to 1, such as 0.5")


def check_loss(loss: float, step: int) -> None:
    """Stop a training whose loss is no number: its weights would be none either.

    Raises:
        ValueError: it is infinite or NaN; the last checkpoint is as it was.
    """
    if not math.isfinite(loss):
        raise ValueError(
            f"the loss of step {step} is {loss}: go on from the last checkpoint with a lower "
            "--rate, or from another --start"
        )


def smoothed(running: float | None, loss: float) -> float:
    """The loss to show after a step: 2 % of its own `loss` and the rest of what was shown before.

    `running` None is a first step, of a run or after a resume: nothing was shown before it.
    """
    return loss if running is None else 0.98 * running + 0.02 * loss
