"""What leaves the agency and what comes from others: releases, requests, imports."""
