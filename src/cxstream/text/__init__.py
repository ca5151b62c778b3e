"""The sentiment of texts, in English and Polish: offline, deterministic, with weights that travel in the package.

text -> quick (one kernel for most texts)                -> sentiment
     -> cleaning -> language -> vader (English) | polish -> sentiment, evidence -> masking
"""
