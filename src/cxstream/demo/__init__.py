"""The whole thing on one computer: Kafka, traffic, a worker, and somebody who watches.

local Kafka  <- simulated traffic
|   ^    |
|   |    warehouse -> console, in a browser
worker   results -> board -> view: a live screen, or plain lines
"""
