"""How the machines behave: compiled simulators with a leading batch axis. No RL in here."""
