"""Results shared by several machines: the warehouse's tables in a PostgreSQL database.

All code that computes keeps running in DuckDB, in memory. What an operation names is loaded from the server, what it changed goes
back in one transaction (`unit_of_work.py`). Nothing outside this folder knows a second SQL dialect.
"""
