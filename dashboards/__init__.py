"""Dashboards as code: one module a dashboard, built into the JSON files that stand beside them."""
