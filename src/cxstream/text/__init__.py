"""The sentiment of texts, in English and Polish: offline, deterministic, with weights that travel in the package.

text -> cleaning -> language -> vader (English) | polish -> Verdict
                                  evidence -> masking
"""
