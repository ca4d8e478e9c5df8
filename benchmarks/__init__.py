"""Measurements: speed against a peer, kills, baselines. Each is a command; none is a test."""
