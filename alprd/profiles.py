"""Every threshold of the reader in one place, with the two profiles that ship.

``road`` is what the daemon runs on live cameras; ``photo`` is what ``alprd read`` may spend on a
single picture. An accuracy figure is worth nothing without the name of its profile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

Profile = Literal["road", "photo"]


@dataclass(frozen=True, slots=True)
class ReaderSettings:
    """Settings of detection, tracking, reading and fusion. Sizes in pixels, times in seconds."""

    profile: Profile

    # Detection
    input_size: tuple[int, int]
    """(height, width) that a picture is fitted into for models of free size."""
    max_upscale: float
    mask_threshold: float = 0.10
    """Every box above this is masked in other plates' wide pictures (R-460.5-b5), and may
    continue a track; the detector is run with it."""
    low_threshold: float = 0.15
    """Boxes above this may continue a track that is already there."""
    high_threshold: float = 0.40
    """Boxes above this may begin a track, or are plates of a photograph."""
    lone_threshold: float | None = None
    """The best box of a photograph that shows nothing above ``high_threshold`` is a plate from
    this score on, though never a sure one: who asks for a photograph to be read expects a plate in
    it. On validation that found 4 of 189 widest plates more, for 0.006 false boxes a picture."""
    aspect: tuple[float, float] = (0.8, 3.0)
    """Width over height. American plates are 2:1 and narrower at an angle (seen on validation:
    1.06 to 2.9 with loose boxes); what is longer on a road is a sign or a badge."""
    max_width_share: float = 0.30
    """Widest plate as a share of the frame's width: nearer than that nobody drives."""

    second_look: float | None = None
    """A photograph with a plate wider than this share of its longer side is looked at again at
    ``second_scale``: the detector draws loose boxes around plates that fill its input."""
    second_scale: float = 0.6

    # Tracking
    max_missed_s: float = 0.4
    """A track without a box for longer is lost: five frames at 15 frames/s."""
    max_tracks: int = 32
    confirm_frames: int = 3
    """Boxes that make a track a plate pass that counts, even if never read."""
    pass_score: float = 0.65
    """Detection score that a pass must reach in some frame to be told or counted."""
    stitch_s: float = 1.5
    """A lost pass waits this long for its plate to reappear before it is final."""
    remember_s: float = 4.0
    """A plate that reappears this soon after its track was lost is still the same pass."""
    max_view_s: float = 8.0
    """A plate in view for longer is reported as soon as it is sure, and not again while it
    stays: a car ahead in traffic may be too far to read for a minute before it comes near."""
    max_unsure_s: float = 120.0
    """A plate in view for longer is reported sure or not."""

    # Crops
    widenings: tuple[float, ...] = (0.05,)
    """How far a box is grown for OCR, as a share of its size a side; one reading for each.
    Best on validation with the shipped pair, whose OCR is trained on tighter crops than most."""
    doubtful_widenings: tuple[float, ...] = ()
    """Further cuts of a plate of a photograph that is not sure by ``widenings``. One, three, five,
    seven and thirteen cuts of each validation crop read 454, 459, 460, 461 and 462 of 495 (O=0);
    four more cuts of the third that three leave unsure read 461 as well."""
    wander: tuple[float, ...] = (0.0, 0.035, -0.025)
    """Added to ``widenings`` from one reading of a pass to the next, in turn: a network that
    misreads a crop cut one way often reads it cut another way, and frames alike would repeat it.
    Three cuts of each validation crop, fused, read 3 % more of them than one."""
    min_width: float = 28.0
    full_width: float = 100.0
    """Width from which a bigger crop adds nothing to the weight of its reading."""
    min_sharpness: float = 0.006
    """Measured on 222 street plates: 0.15 as they are, 0.022 smeared over 6 % of their width,
    0.007 over 12 %, where nobody can read them."""
    edge: float = 2.0
    """A box this close to the border of the frame is cut, and not read."""
    better: float = 1.15
    """Quality must grow by this factor to be worth another OCR."""
    first_readings: int = 4
    """Read a track without waiting for better crops until it has this many readings."""
    near_readings: int = 0
    """Read a plate that is wide enough to be believed without waiting, until it has this many
    readings at that width."""
    max_readings: int = 16
    """OCR runs for one pass; beyond them only a better crop or ``recheck_s`` brings another."""
    max_ocr_per_frame: int = 4
    issuer_readings: int = 3
    """The state classifier is asked for so many readings of a pass, then for better crops only:
    it costs as much as the OCR, and a state does not change from frame to frame."""
    retry_s: float = 0.25
    """A plate that is not sure yet is read again after this long, better crop or not."""
    recheck_s: float = 2.0
    """A plate that stays in view is read again this often, to notice a change of vehicle."""

    # Fusion
    temper: float = 0.25
    """Exponent of the effective number of frames: 1 takes them as independent, which frames of
    one plate under one light are not; 0 would average them."""
    smoothing: float = 0.02
    """Share of each reading's distribution spread evenly, so one frame cannot veto the rest."""
    char_floor: float = 0.97
    """Lowest probability of each character and of the end of a text that is sure. On 548 plates
    of drives kept for setting thresholds (``bench floors``) 0.92 left 1.1 % wrong and sure and
    95.8 % exact and sure, 0.97 with the width below 0.4 % and 95.1 %. For ``road`` see ADR 0063."""
    twin_floor: float = 0.90
    """An O, 0, I or 1 that is less probable than this is open: one of the two, not said which. An
    alarm does not wait for it, since a list's O matches a 0 that was read; a text with an open
    place is not told as exact. Of 354 sure validation crops 2 are open at 0.9, 10 at 0.97."""
    chosen_twin_floor: float = 0.995
    """Where plates are not numbered in this order (a word, people's own choice), the picture alone
    must give an O or 0 this much of the pair, or the place is open. On the drives for setting
    thresholds eight of nine sure texts with the wrong one of the two were of such an order."""
    sure_width: float = 56.0
    """A pass whose widest box is narrower is never sure: a plate half hidden by a bumper is as
    clear to the network as a short one. A photograph's plates know ``min_width`` only."""
    sure_score: float = 0.75
    """A pass whose best detection score is lower is never sure: on the drives for setting
    thresholds bumper stickers reached 0.71, and 2,022 of 2,024 sure plates more than 0.80."""
    region_floor: float = 0.70
    """Of what the state classifier was this sure of on validation crops, 0.7 % was wrong."""
    stacked_floor: float = 0.60
    read_floor: float = 0.40
    """A character below this makes the text unusable: lettering, badges, blur."""
    agree: int = 2
    """Frames that must give the fused text for it to be sure; to be told at all, one very sure
    frame is enough."""
    very_sure: float = 0.985
    """Lowest character probability of a single frame that is told alone, as not sure."""
    length_share: float = 0.55
    """Share of the readings' weight that must agree on the number of characters."""
    text_length: tuple[int, int] = (2, 8)
    serials: bool = True
    """Whether the state's order of letters and digits has a say between O and 0."""

    # Pictures
    wide_width: int = 640
    """The picture of the surroundings is scaled down to this width."""
    mask_margin: float = 0.15
    plate_margin: float = 0.15
    motion: float = 4.0
    """Mean grey-level change of a coarse cell that counts as motion."""
    idle_s: float = 1.0
    """Detection runs at least this often even where nothing moves."""


ROAD: Final = ReaderSettings(
    profile="road",
    # 640x384 and 512x288 read tuning drives as well, the one dearer by a third, the other finding
    # less of small plates on validation photographs (ADR 0063).
    input_size=(320, 576),
    max_upscale=1.0,
    near_readings=8,
    char_floor=0.98,
)
PHOTO: Final = ReaderSettings(
    profile="photo",
    input_size=(512, 512),  # larger inputs found less on validation photographs, and cost more
    max_upscale=2.0,
    high_threshold=0.50,
    min_width=12.0,
    widenings=(0.02, 0.05, 0.09),
    doubtful_widenings=(-0.02, 0.0, 0.035, 0.07),
    wander=(0.0,),
    # Single pictures give less: at 0.995 a quarter of the sure us-text plates was open, none wrong.
    chosen_twin_floor=0.95,
    temper=0.0,  # crops of one picture share every fault of it: no surer than their average
    read_floor=0.0,
    edge=0.0,
    lone_threshold=0.30,
    aspect=(0.6, 7.0),  # plates turned away, cut by the border, of motorcycles: 0.62 on validation
    max_width_share=1.0,
    second_look=0.16,
)
PROFILES: Final[Mapping[Profile, ReaderSettings]] = MappingProxyType({"road": ROAD, "photo": PHOTO})
