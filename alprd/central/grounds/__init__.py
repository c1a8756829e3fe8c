"""What a search stands on: the form, legal bases, what accumulates of one plate."""
