"""Suppliers' hot files: from any container, encoding and layout to one record a line.

``containers`` opens the file, ``layouts`` says where which field stands, ``reading`` makes records
of lines, ``spool`` sorts entries that do not fit into memory.
"""
