"""The whole thing on one computer: Kafka, traffic, a worker, and somebody who watches.

local Kafka  <- simulated traffic
|   ^
worker   results -> board -> view: a live screen, or plain lines
"""
