"""Sparse networks by DessiLBI beside magnitude pruning, proximal gradients and ADMM."""
