"""A small virtual machine that runs the installed car: made, booted, cut off and asked.

``image`` makes its disks, ``disk`` is a drive that forgets what was not flushed when the power
goes, ``machine`` is the running guest, ``car`` the enrolled car in it, ``agent`` what answers from
inside. docs/guest.md tells what is needed and what is simulated how.
"""
