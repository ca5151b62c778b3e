"""What an installation needs: cores, memory, brokers, disk and money, from what was measured."""
