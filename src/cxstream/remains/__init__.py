"""What Kafka still holds of customers who were erased, for how long, and what of it should not be there."""
