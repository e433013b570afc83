"""The layer that stores, one package for each system. The module that writes a layout also reads it."""
