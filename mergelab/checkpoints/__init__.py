"""Weights in and out: safetensors files, checkpoints, PEFT adapters, task vectors, safe writing."""

from mergelab.checkpoints.adapter import Adapter
from mergelab.checkpoints.checkpoint import Checkpoint, layer_index, with_layer
from mergelab.checkpoints.references import References, Source
from mergelab.checkpoints.safetensors_file import SafetensorsFile
from mergelab.checkpoints.task_vector import TaskVector
from mergelab.checkpoints.writer import CheckpointWriter, Slot, whole_folder

__all__ = [
    "Adapter",
    "Checkpoint",
    "CheckpointWriter",
    "References",
    "SafetensorsFile",
    "Slot",
    "Source",
    "TaskVector",
    "layer_index",
    "whole_folder",
    "with_layer",
]
