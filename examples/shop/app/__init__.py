"""A small shop with sync sessions; README.md says how to start it."""
