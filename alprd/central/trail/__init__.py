"""Reading and proving the audit trail: search, check, anchors, exports, alarms."""
