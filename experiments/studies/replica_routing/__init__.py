"""Requests to replicas of a language model."""
