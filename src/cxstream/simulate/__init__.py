"""Customers with lives, whose touchpoints, pain and departures are known: traffic with ground truth.

people (segments, habits, luck)
   |   each simulated day, vectorised over everybody
visits, purchases, outreach  ->  troubles  ->  contacts  ->  complaints
   |                                 |
planned rows (by time) --happen-->  pain  --hazard, delay-->  departure
   |
faults: late, out of order, repeated, broken   ->  rows in order of arrival
   |
rendered JSON  ->  a file or a topic;   the truth  ->  its own file
"""
