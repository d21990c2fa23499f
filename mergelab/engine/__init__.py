"""A plan becomes a merged model or adapter: read, merge, write, tensor by tensor, part by part.

`merge` is what everybody calls. A `Run` works on several tensors at once, each in runs of rows
that fit a core's cache; nothing is multiplied out whole, everything is computed in fp32, and each
value is rounded once, when it is written. What comes out depends on the recipe, the models and the
seed alone: not on the number of workers, the size of shards, or the order of the models.
"""

from mergelab.engine.merging import MergeResult, merge
from mergelab.engine.tensor_merges import one_thread_each, planned_merge, streams_of, task_vectors

__all__ = ["MergeResult", "merge", "one_thread_each", "planned_merge", "streams_of", "task_vectors"]
