"""What all routers share: problem details, security, responses and readiness."""
