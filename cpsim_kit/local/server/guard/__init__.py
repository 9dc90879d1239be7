"""Guards in front of ministack: they refuse what AWS refuses and ministack accepts. `door` decides who may use it."""
