"""The Faust adapter: whole fetches in, one transaction per flush out, state restored from Kafka."""
