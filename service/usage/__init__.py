"""Billing: call time per tenant, month, day, hour or outcome to the millisecond, its rounding, and frozen periods."""
