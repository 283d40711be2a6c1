"""What finance asks of the call records: how long calls ran, per tenant, day, hour or outcome, to the millisecond."""
