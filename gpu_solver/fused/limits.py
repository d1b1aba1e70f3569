"""When refinement has done its work: limits that all fused kernels share."""

__all__ = ["MAX_CORRECTIONS", "NEGLIGIBLE", "NOTICEABLE", "WORRYING"]

#: A relative correction whose square, the error expected after it, is below this ends refinement.
NEGLIGIBLE = 1e-14
#: A first correction above this is told to the user.
NOTICEABLE = 1e-12
#: An error of this size may still be left: the problem is ill-conditioned.
WORRYING = 1e-9
MAX_CORRECTIONS = 3
