"""Weights in and out: safetensors files, checkpoints, PEFT adapters, task vectors, safe writing."""

from mergelab.checkpoints.adapter import Adapter
from mergelab.checkpoints.adapter_writer import AdapterWriter
from mergelab.checkpoints.checkpoint import Checkpoint, layer_index, with_layer
from mergelab.checkpoints.hub import hub_name, short_name
from mergelab.checkpoints.references import References, Source
from mergelab.checkpoints.safetensors_file import SafetensorsFile
from mergelab.checkpoints.task_vector import TaskVector
from mergelab.checkpoints.writer import CheckpointWriter, Slot, whole_folder

__all__ = [
    "Adapter",
    "AdapterWriter",
    "Checkpoint",
    "CheckpointWriter",
    "References",
    "SafetensorsFile",
    "Slot",
    "Source",
    "TaskVector",
    "hub_name",
    "layer_index",
    "short_name",
    "whole_folder",
    "with_layer",
]
