"""Read images from folders and HDF5 files."""
