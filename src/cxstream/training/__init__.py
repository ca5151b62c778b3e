"""Fits models from history: when customers buy and stop buying, and what they spend."""
