"""The cars: enrolment, certificates, permits, orders, and their end."""
