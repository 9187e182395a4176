"""Slimming: plans, dimension rules, the slicer, BST's grid, and counting. Only the slicer needs torch."""
