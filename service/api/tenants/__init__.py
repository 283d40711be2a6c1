"""Tenants over HTTP: routes, schemas, and conditions of changes."""
