"""Where the rows of a day are measured, with the code of `measuring/`: by DuckDB in this process, or by Spark where they lie.

`day_rows.py` and `day_delivery.py` are what others ask. `executor.py` runs beside the rows of a lake, and `lake.py` and its
neighbours ask it.
"""
