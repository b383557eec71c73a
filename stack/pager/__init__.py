"""The pager: stores what Alertmanager sends with its arrival time, shows it, and is its dead-man.

It acknowledges nothing and asks nobody: what it shows is what arrived. Alertmanager 0.25 to 0.35 send the
same webhook payload, version 4.
"""
