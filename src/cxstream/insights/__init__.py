"""Alerts on places: a touchpoint, channel, topic or group of agents that leaves its own range."""
