"""alprd: automated licence plate reader for patrol cars under Minn. Stat. § 13.824.

``alprd`` is the vehicle daemon; ``alprd.mdt`` the in-car page; ``alprd.central`` the agency's
own storage. The vehicle never imports ``alprd.central`` (held by ``tests/test_imports.py``).
"""

__version__ = "0.1.0"
