"""Rows that stay where they are: an engine measures them there, with the code of `measuring/`, and brings small tables.

`executor.py` is what runs beside the rows; `lake.py` and the others ask for it. Storing what comes of it is not done here.
"""
