"""Which rule of the policy is enforced where, and which tests hold it: ``make coverage-policy``.

Never imported by the product. Rules are marked on tests with ``@pytest.mark.policy("R-…")``.
"""
