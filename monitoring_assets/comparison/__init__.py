"""Two tables compared without Dagster: `monitoring-assets drift` and `from monitoring_assets.drift import compare`."""
