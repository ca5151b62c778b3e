"""`cxstream serve`: pages over the read model for people in customer experience, service and retention."""
