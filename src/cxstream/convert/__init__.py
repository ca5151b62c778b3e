"""Other data becomes touchpoints: rows in, CloudEvents out, and an account of everything else.

    files -> rows (file, line, values) -> drafts (kind, subject, time, data) -> checked, encoded -> file
                        |                          |                                |
                        +--------- report: left out on purpose, or a problem with file:line: field ----+

A source is a generator of drafts: `olist` and `anonymous_bank` know their files by heart; `mapping` is told by
a TOML file what a row means, and `segment` is such a file that ships with cxstream. Whatever a source is, its
drafts are encoded and then held against cxstream's own decoder, so that what is written is what is read.

A row ends in one of three ways: as one event or more; left out on purpose, counted under a reason; or as a
problem, told by file, line and field. The report adds them up.
"""
