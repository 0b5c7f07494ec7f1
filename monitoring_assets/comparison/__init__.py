"""Two tables without Dagster: has the second drifted (`drift`, `compare`), and how good is the model on it (`performance`, `estimate`)?"""
