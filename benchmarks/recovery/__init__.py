"""Phase transition of exact recovery from y = A x."""
