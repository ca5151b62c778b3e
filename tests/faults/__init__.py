"""What happens to the log's results while everything around the workers breaks.

    seeded traffic --> cx.touchpoints --> workers (real processes) --> cx.churn-risk, cx.friction, cx.scores, ...
                                             |  one listener a slot
                                          proxy (own process): cut, hold, delay, slow; sees each request's kind
                                             |
                                          three brokers, replication 3, min.insync.replicas 2

    a kind of fault, at seeded moments, while traffic flows;
    then everything is drained and stopped, read back with read_committed, and compared with the engine driven
    over the same log, and with `cxstream replay`: lost, repeated and wrong must be 0.

__main__.py  the command: which kinds, how often, the table, the report
run.py       one run: topics afresh, traffic, the fault, drain, stop, check
kinds/       the faults, a function each
cluster.py   three nodes; node.py one of them; disk.py a small disk for one
proxy.py     the proxy's process; links.py the hand on it; wire.py what it understands of Kafka's protocol
fleet.py     worker processes by slot
traffic.py   what is sent, and the proof of what was sent; parcels.py what somebody else sends beside it
spoiled.py   ways to spoil saved state
watcher.py   when signals and commits were seen
reader.py    what is in the topics
checker.py   what should be in them, and the difference; replayed.py the second opinion
report.py    the table and the JSON file
"""
