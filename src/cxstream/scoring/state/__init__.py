"""The state of one partition: customers, remembered ids, erasures, and their snapshots."""
