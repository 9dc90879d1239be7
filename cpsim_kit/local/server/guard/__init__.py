"""Guards in front of ministack: what AWS refuses, and ministack does not."""
