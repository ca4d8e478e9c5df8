"""Builders for tensorflow-datasets, which work without TensorFlow: one module a data set.

They read the folders that the sources of the same names read (data_pipelines/sources), with the
same code. Records are written as array_record, as TFRECORD needs TensorFlow.
"""
