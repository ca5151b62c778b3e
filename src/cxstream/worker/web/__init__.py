"""The worker's web pages: who may ask, how many, and what they show."""
