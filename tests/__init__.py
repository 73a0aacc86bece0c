"""Tests of bardge_async."""
