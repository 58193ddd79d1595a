"""Scene selection: costs, set cover solver, refresh, explanation."""
