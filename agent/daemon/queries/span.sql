SELECT MIN(at), MAX(at) FROM observations
