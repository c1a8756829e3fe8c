"""How central keeps anything: databases, keys, objects, settings, and the trail's own writing."""
