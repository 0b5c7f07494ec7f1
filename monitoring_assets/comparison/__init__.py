"""Two tables without Dagster: has the second drifted (`compare`), and how good is the model on it (`estimate`, `realised`)?"""
