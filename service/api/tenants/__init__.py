"""Tenants over HTTP: routes, what they take and answer, and on which condition they change."""
