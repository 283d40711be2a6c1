"""Tenants with their numbers, limits and instructions, and every change made to them."""
