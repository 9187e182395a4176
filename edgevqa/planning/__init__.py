"""Methods that compute a plan from data or measurements. There is none yet: the pairs of BST need no planner."""
