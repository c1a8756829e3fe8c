"""What everyone may know: log of use, fixed locations, readers, notices, public trail."""
