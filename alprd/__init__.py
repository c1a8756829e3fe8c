"""alprd: automated licence plate reader for patrol cars under Minn. Stat. § 13.824.

``alprd`` is the vehicle daemon; ``alprd.mdt`` the in-car page; ``alprd.central`` the agency's
own storage. The vehicle never imports ``alprd.central`` (held by ``tests/test_imports.py``).
"""

import os

# ONNX Runtime's wheels report usage to their maker and leave a session file in the temporary
# folder; nothing leaves a patrol car but to its own central. Read when the library loads, so it
# is set before anything else of this package.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# A picture whose header announces more pixels (128 million) is refused before memory is taken for
# it; OpenCV's own bound is eight times as much, 3 GB.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 27))

__version__ = "0.1.0"
