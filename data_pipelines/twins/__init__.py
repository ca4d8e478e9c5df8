"""Synthetic twins of the licensed data sets, written in their official layout."""
