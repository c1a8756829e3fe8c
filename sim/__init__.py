"""Drive simulator: renders patrol drives with exact truth (videos, NMEA log, lists, truth file).

Nothing of a drive is real: streets, vehicles, plates and list entries are invented.  Drives use the
reserved test type faces and test textures; `sim.scenes` renders training scenes from the others.
The runtime (`alprd/`) never imports this package.
"""
