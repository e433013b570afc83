"""Stores, one package per system. The module that writes a layout also reads it."""
