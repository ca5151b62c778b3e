"""The Kafka client: connections, topics, groups, records in and out."""
