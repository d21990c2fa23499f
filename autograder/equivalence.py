"""Reasons that excuse a mutant in more than one exercise (see `Exercise.equivalent`)."""

WIDER = (
    "Computes the same: the other operand is float32 (or float64), and torch computes in the "
    "wider type."
)
ANY_OF_LIST = (
    "Outside the contract: all tensors of the list have one dtype and one shape, so the last one "
    "tells them as well as the first."
)
CANCELS = "Computes the same: a factor that all weights share cancels in an average."
SCALED_VOTE = "Computes the same: a positive factor that all weights share leaves every sign."
SYMMETRIC = "Computes the same: the two that come out of each pair are only multiplied."
PLAIN_NUMBER = "Computes the same: a tensor without dimensions counts as a number."
