"""``alprd doctor``: is everything of this car as it must be, and if not, what is to be done.

:mod:`~alprd.doctor.report` holds rows and the runner, :mod:`~alprd.doctor.car` what checks share;
the other modules are the checks, one subject each, and :mod:`~alprd.doctor.table` lists them all.
Nothing here changes the car: the queue is opened read-only, devices are opened only while no daemon
holds them, and no plate, place, password or key is ever shown. Heavy libraries are loaded inside
checks, so that a missing one is a finding and not the end of the doctor.
"""
