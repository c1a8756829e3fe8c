"""Work by the hour and by the administrator: destruction, backup, restore, jobs, status."""
