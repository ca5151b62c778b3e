"""Views: the questions that the read model answers, one SQL file each.

    NAME.sql -> definition -> query (with a selection: window, filters, groups) -> rows, or the customers behind a cell

The header of a file says what its columns mean; docs/views.md is made of these headers. A measure and the list of
customers behind it use one text of SQL, so they cannot differ.
"""
