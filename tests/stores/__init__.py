"""Tests of what stores are made of."""
