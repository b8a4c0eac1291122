"""Look at files before libraries open them: what they would run, load or take of memory.

Files come from other people. Zarr's metadata names the codecs that decode it, some of which
unpickle or load plug-ins; HDF5 may refer to other files; and a few bytes can declare terabytes. So
each file is looked through here first, and whatever is not on a short list is an error.
"""
