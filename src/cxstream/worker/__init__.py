"""The Faust shell: whole fetches in, one transaction a flush out, state restored from Kafka."""
