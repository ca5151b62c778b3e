"""Views of journeys and deliveries from touchpoints in the order of time, without sorting them all by customer.

The SQL of these views sorts the touchpoints of the window by customer, and needs up to tens of seconds for twenty million. Here they
are read in slices of time, and kernels look at each once (`cxstream.kernels.journeys`). The SQL remains for what the kernels do
not do: groups, periods, sessions and cases, very many touchpoints, places or customers, and the lists of customers.
"""
