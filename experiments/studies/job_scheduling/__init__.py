"""Jobs that wait for a cluster."""
