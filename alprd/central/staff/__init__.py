"""Who works here and what each may do: accounts, roles, training, credentials, referrals."""
