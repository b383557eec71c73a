"""A notebook with async sessions; README.md says how to start it."""
